"""Which folders are hidden and which are laid back in; the namespaces themselves are tried by `test_local`."""

import os
import sys
from pathlib import Path

import pytest

from scheduler.clusters import local_isolation
from scheduler.clusters.local_isolation import (
    closed_folders,
    interpreter_folders,
    isolation_available,
    outermost,
)


class TestClosedFolders:
    def test_the_outermost_closed_folder_on_the_way(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        inner = closed / "inner" / "python"
        inner.mkdir(parents=True)
        closed.chmod(0o700)
        (closed / "inner").chmod(0o700)
        tmp_path.chmod(0o755)
        open_above = [folder for folder in tmp_path.parents if not folder.stat().st_mode & 0o001]
        assert closed_folders([inner]) == [open_above[-1] if open_above else closed]

    def test_none_where_all_are_open(self) -> None:
        assert closed_folders([Path("/usr/bin")]) == []


def test_outermost_drops_what_lies_inside_another() -> None:
    assert outermost([Path("/a/b"), Path("/a"), Path("/ab"), Path("/a")]) == [Path("/a"), Path("/ab")]


def test_interpreter_folders_hold_the_interpreter_and_its_distributions() -> None:
    folders = interpreter_folders()
    for needed in (Path(sys.executable).resolve(), Path(pytest.__file__)):
        assert any(needed.is_relative_to(folder) for folder in folders)


def test_not_available_to_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert not isolation_available()


def test_a_refused_call_says_which() -> None:
    with pytest.raises(OSError, match="mount /x: "):
        local_isolation._checked(-1, "mount /x")
