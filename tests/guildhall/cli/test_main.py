"""The program as a person meets it: one sentence and an exit code, never a traceback."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from guildhall.cli import main
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.migrating import newest_revision
from guildhall.errors import Conflict, Invalid
from tests.conftest import run_as_superuser
from tests.registry.bucketless import NO_BUCKET, TOLD, s3_answering

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gh-"))
    yield made
    shutil.rmtree(made)


def guildhall(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    return subprocess.run(
        [sys.executable, "-m", "guildhall", *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | measured | environment,
    )  # fmt: skip


def warnings_aside(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if " WARNING " not in line]


class TestUsage:
    def test_help_names_every_command_and_none_that_is_missing(self) -> None:
        run = guildhall("--help")
        assert run.returncode == 0
        for command in ("all", "api", "worker", "migrate", "bootstrap", "settings"):
            assert re.search(rf"^    {command}\s", run.stdout, re.MULTILINE)
        assert "frobnicate" not in run.stdout

    @pytest.mark.parametrize("arguments", [[], ["dance"], ["bootstrap"], ["migrate", "--more"]])
    def test_a_wrong_call_is_told(self, arguments: list[str]) -> None:
        run = guildhall(*arguments)
        assert (run.returncode, run.stdout) == (2, "")
        assert "Traceback" not in run.stderr

    def test_a_wrong_setting_is_one_sentence(self) -> None:
        run = guildhall("migrate", GUILDHALL_BIND="nowhere")
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr == ("GUILDHALL_BIND cannot be 'nowhere': it must be host:port, the port from 1 to 65535.\n")

    @pytest.mark.parametrize("command", [["all"], ["api"], ["worker"], ["api", "--processes", "2"]])
    def test_a_bucket_that_is_not_there_is_one_sentence(self, command: list[str]) -> None:
        with s3_answering(404, NO_BUCKET) as environment:
            run = guildhall(
                *command, GUILDHALL_ARTIFACTS_URL="s3://nowhere/artifacts",
                GUILDHALL_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", **environment,
            )  # fmt: skip
        assert (run.returncode, run.stdout) == (1, "")
        assert warnings_aside(run.stderr) == [TOLD]

    def test_settings_are_listed_with_a_warning_for_a_typing_mistake(self) -> None:
        run = guildhall("settings", GUILDHALL_BINDE="x")
        assert run.returncode == 0
        assert "GUILDHALL_BIND\n    Where the API listens.\n    Default: 127.0.0.1:8321\n" in run.stdout
        assert "GUILDHALL_BINDE is set but is not a setting" in run.stderr


class TestFailure:
    @pytest.mark.parametrize(
        ("failure", "exit_code", "sentence"),
        [
            (
                RuntimeError("why\nand a long story"), 1,
                "Guildhall failed unexpectedly (RuntimeError: why); GUILDHALL_LOG_LEVEL=DEBUG shows where.\n",
            ),
            (Invalid("The address is wrong."), 2, "The address is wrong.\n"),
            (Conflict("There is one already."), 1, "There is one already.\n"),
            (KeyboardInterrupt(), 130, ""),
        ],
    )  # fmt: skip
    def test_is_a_sentence_and_a_code(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        failure: BaseException,
        exit_code: int,
        sentence: str,
    ) -> None:
        def failing(_: object) -> None:
            raise failure

        monkeypatch.setattr(main, "_run", failing)
        assert main.main(["migrate"]) == exit_code
        assert capsys.readouterr() == ("", sentence)


class TestMigrate:
    def test_the_embedded_database_twice(self, folder: Path) -> None:
        for _ in range(2):
            run = guildhall("migrate", GUILDHALL_DATA_DIR=str(folder))
            assert (run.returncode, run.stdout) == (0, f"The database is at revision {newest_revision()}.\n")
            assert warnings_aside(run.stderr) == []

    async def test_another_database_as_its_owner(self, server: EmbeddedServer) -> None:
        await run_as_superuser(server, f"CREATE DATABASE migrated_by_hand OWNER {OWNER_ROLE}")
        url = server.url(OWNER_ROLE, "migrated_by_hand")
        run = guildhall("migrate", GUILDHALL_DATABASE_URL=url)
        await run_as_superuser(server, "DROP DATABASE migrated_by_hand WITH (FORCE)")
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout == f"The database is at revision {newest_revision()}.\n"

    def test_an_unreachable_database_is_one_sentence(self) -> None:
        run = guildhall("migrate", GUILDHALL_DATABASE_URL="postgresql://ada:geheim@127.0.0.1:1/guildhall")
        assert (run.returncode, run.stdout) == (1, "")
        (sentence,) = run.stderr.splitlines()
        assert sentence.startswith("The database could not be migrated: ")
        assert "geheim" not in sentence

    async def test_a_folder_in_use_is_one_sentence(self, folder: Path) -> None:
        async with EmbeddedServer(folder):
            run = guildhall("migrate", GUILDHALL_DATA_DIR=str(folder))
        assert (run.returncode, run.stdout) == (1, "")
        assert run.stderr == (
            f"The data folder {folder} is in use by another Guildhall process (process id {os.getpid()}): "
            "stop that one, or set GUILDHALL_DATA_DIR to another folder.\n"
        )


def alembic(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=120, env=os.environ | environment,
    )  # fmt: skip


class TestAlembic:
    async def test_its_own_command_line_reads_our_settings(self, server: EmbeddedServer) -> None:
        await run_as_superuser(server, f"CREATE DATABASE migrated_by_alembic OWNER {OWNER_ROLE}")
        url = server.url(OWNER_ROLE, "migrated_by_alembic")
        run = alembic("upgrade", "head", GUILDHALL_MIGRATION_DATABASE_URL=url)
        connection = await server.connect(database="migrated_by_alembic")
        found = await connection.fetchval("SELECT version_num FROM alembic_version")
        await connection.close()
        await run_as_superuser(server, "DROP DATABASE migrated_by_alembic WITH (FORCE)")
        assert (run.returncode, found) == (0, newest_revision())

    def test_without_a_database_it_says_what_to_do(self) -> None:
        run = alembic("current")
        assert run.returncode == 1
        assert run.stderr.startswith("Set GUILDHALL_MIGRATION_DATABASE_URL")
