"""What the embedded server asks of the machine, where the machine does not give it."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from guildhall.db import embedded_system
from guildhall.db.embedded_system import (
    EmbeddedServerError,
    ServerUser,
    binary,
    find_server_user,
    open_the_way,
    orphans,
    own_private_folder,
)

OTHER = ServerUser(65_534, 65_534)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestFindServerUser:
    def test_is_ourselves_unless_we_are_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        user = find_server_user()
        assert user == ServerUser(None, None)
        assert (user.as_arguments(), user.effective_uid) == ({}, 1000)

    @pytest.mark.parametrize(("program", "reason"), [(None, "no program useradd"), ("/usr/sbin/useradd", "disk full")])
    def test_says_why_no_user_can_be_made(
        self, monkeypatch: pytest.MonkeyPatch, program: str | None, reason: str
    ) -> None:
        def failing(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
            assert command[0] == program
            return subprocess.CompletedProcess(command, 1, "", "disk full\n")

        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(embedded_system, "_user_entry", lambda: None)
        monkeypatch.setattr(shutil, "which", lambda *_, **__: program)
        monkeypatch.setattr(subprocess, "run", failing)
        with pytest.raises(EmbeddedServerError, match=reason) as refusal:
            find_server_user()
        assert "set GUILDHALL_DATABASE_URL" in refusal.value.message


class TestBinary:
    def test_a_missing_program_is_told(self) -> None:
        assert binary("postgres").exists()
        with pytest.raises(EmbeddedServerError, match="has no oracle"):
            binary("oracle")

    def test_a_missing_package_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded_system, "find_spec", lambda _: None)
        with pytest.raises(EmbeddedServerError, match="not installed"):
            binary("postgres")


class TestOpenTheWay:
    def installation(self, folder: Path) -> Path:
        programs = folder / "installed" / "bin"
        programs.mkdir(parents=True, mode=0o700)
        (folder / "installed" / "share").mkdir(mode=0o700)
        (programs / "postgres").touch(mode=0o700)
        (folder / "installed" / "share" / "postgres.bki").touch(mode=0o600)
        return programs

    def test_lets_enter_and_run_but_not_list(self, tmp_path: Path) -> None:
        data = tmp_path / "closed" / "data"
        data.mkdir(parents=True)
        data.parent.chmod(0o700)
        data.chmod(0o700)
        programs = self.installation(tmp_path)
        open_the_way(OTHER, data, programs)
        assert (mode_of(data), mode_of(data.parent)) == (0o701, 0o701)
        assert mode_of(programs / "postgres") & 0o007 == 0o005
        assert mode_of(programs.parent / "share" / "postgres.bki") & 0o007 == 0o004

    def test_changes_nothing_for_ourselves(self, tmp_path: Path) -> None:
        programs = self.installation(tmp_path)
        tmp_path.chmod(0o700)
        before = {path: mode_of(path) for path in (tmp_path, *tmp_path.rglob("*"))}
        open_the_way(ServerUser(None, None), tmp_path, programs)
        assert {path: mode_of(path) for path in (tmp_path, *tmp_path.rglob("*"))} == before


class TestOwnPrivateFolder:
    def test_a_fresh_one_is_empty(self, tmp_path: Path) -> None:
        (tmp_path / "draft").mkdir()
        (tmp_path / "draft" / "left").touch()
        made = own_private_folder(tmp_path / "draft", ServerUser(None, None), fresh=True)
        assert (list(made.iterdir()), mode_of(made)) == ([], 0o700)

    def test_a_file_in_its_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "sockets").touch()
        with pytest.raises(EmbeddedServerError, match="belongs to somebody else"):
            own_private_folder(tmp_path / "sockets", ServerUser(None, None))


class TestOrphans:
    def test_finds_processes_of_this_data_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Process:
            def __init__(self, pid: int, name: str, folder: Path | None) -> None:
                self.pid, self._name, self._folder = pid, name, folder

            def name(self) -> str:
                return self._name

            def cwd(self) -> str:
                if self._folder is None:
                    raise psutil.AccessDenied(self.pid)
                return str(self._folder)

        running = [
            Process(1, "postgres", tmp_path),
            Process(2, "postgres", tmp_path.parent),
            Process(3, "python", tmp_path),
            Process(4, "postgres", None),
        ]
        monkeypatch.setattr(psutil, "process_iter", lambda: running)
        assert orphans(tmp_path) == [1]
