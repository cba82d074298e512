"""The embedded server through kills, a second process, and callers without a password."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from guildhall.db.embedded import SUPERUSER, EmbeddedServer
from guildhall.db.embedded_system import SOCKET_PATH_BYTES_MAX, EmbeddedServerError, running_server_pid
from guildhall.db.engine import OWNER_ROLE, SERVICE_ROLE

HOLDER = Path(__file__).with_name("embedded_holder.py")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gh-"))
    yield made
    assert running_server_pid(made / "postgres") is None, "a test left a server behind"
    shutil.rmtree(made)


@contextmanager
def holder(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Another process that holds the folder, and the server's process id."""
    process = subprocess.Popen(
        [sys.executable, str(HOLDER), str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def is_alive(pid: int) -> bool:
    """A zombie that nobody has collected is dead."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def write_row(server: EmbeddedServer, number: int) -> None:
    connection = await server.connect()
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (number int PRIMARY KEY)")
        await connection.execute("INSERT INTO kept VALUES ($1)", number)
    finally:
        await connection.close()


async def read_rows(server: EmbeddedServer) -> list[int]:
    connection = await server.connect()
    try:
        return [row["number"] for row in await connection.fetch("SELECT number FROM kept ORDER BY number")]
    finally:
        await connection.close()


class TestKilled:
    async def test_a_killed_server_is_started_again_with_its_data(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            await write_row(server, 1)
            first = server.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            for _ in range(1_000):
                if server.pid not in {None, first} and server._says_ready(server.pid or 0):
                    break
                await asyncio.sleep(0.02)
            assert server.pid not in {None, first}
            assert await read_rows(server) == [1]
            await write_row(server, 2)
        async with EmbeddedServer(folder) as server:
            assert await read_rows(server) == [1, 2]

    async def test_the_server_of_a_killed_process_is_taken_over(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            await write_row(server, 1)
        with holder(folder) as (process, left_behind):
            for lifeline in psutil.Process(process.pid).children():
                if lifeline.pid != left_behind:
                    lifeline.kill()
            process.kill()
            process.wait(30)
        assert is_alive(left_behind)
        async with EmbeddedServer(folder) as server:
            assert server.pid != left_behind
            assert not is_alive(left_behind)
            assert await read_rows(server) == [1]

    async def test_the_server_ends_when_its_process_is_killed(self, folder: Path) -> None:
        with holder(folder) as (process, left_behind):
            assert is_alive(left_behind)
            process.kill()
            process.wait(30)
        for _ in range(1_000):
            if not is_alive(left_behind):
                break
            await asyncio.sleep(0.02)
        assert not is_alive(left_behind)

    async def test_both_killed(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            await write_row(server, 1)
        with holder(folder) as (process, left_behind):
            process.kill()
            process.wait(30)
            os.kill(left_behind, signal.SIGKILL)
        async with EmbeddedServer(folder) as server:
            assert await read_rows(server) == [1]

    async def test_a_pid_file_that_names_another_process_is_no_server(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            await write_row(server, 1)
        (folder / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{folder / 'postgres'}\n")
        async with EmbeddedServer(folder) as server:
            assert await read_rows(server) == [1]

    async def test_a_kill_while_setting_up_leaves_nothing_that_looks_whole(self, folder: Path) -> None:
        draft = folder / "postgres-draft" / "data"
        draft.mkdir(parents=True)
        (draft / "PG_VERSION").write_text("18\n")
        async with EmbeddedServer(folder) as server:
            await write_row(server, 1)
            assert not draft.exists()

    async def test_stop_ends_every_process(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            assert server.pid is not None
            processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            assert len(processes) > 1
            connection = await server.connect()
        assert [process for process in processes if process.is_running() and is_alive(process.pid)] == []
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.fetchval("SELECT 1")


class TestSecondProcess:
    async def test_is_refused_in_one_sentence_and_disturbs_nothing(self, folder: Path) -> None:
        with holder(folder) as (process, running):
            with pytest.raises(EmbeddedServerError) as refusal:
                await EmbeddedServer(folder).start()
            assert refusal.value.message == (
                f"The data folder {folder} is in use by another Guildhall process (process id {process.pid}): "
                "stop that one, or set GUILDHALL_DATA_DIR to another folder."
            )
            assert running_server_pid(folder / "postgres") == running
        async with EmbeddedServer(folder) as server:
            assert server.pid is not None

    async def test_of_our_own_process_is_refused_too(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            with pytest.raises(EmbeddedServerError, match="in use by another Guildhall process"):
                await EmbeddedServer(folder).start()
            await write_row(server, 1)


class TestSecrets:
    async def test_nobody_gets_in_without_the_password(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            for role in (SUPERUSER, OWNER_ROLE, SERVICE_ROLE):
                for password in (None, "", "wrong"):
                    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError)):
                        await asyncpg.connect(
                            host=str(folder / "postgres-socket"), user=role, password=password, database="guildhall"
                        )
            connection = await server.connect()
            rules = await connection.fetch("SELECT type, auth_method FROM pg_hba_file_rules")
            assert {rule["auth_method"] for rule in rules} == {"scram-sha-256"}
            stored = await connection.fetch("SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL")
            assert {row["rolpassword"].split("$")[0] for row in stored} == {"SCRAM-SHA-256"}
            await connection.close()

    async def test_listens_on_its_socket_alone(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            assert server.pid is not None
            assert psutil.Process(server.pid).net_connections("inet") == []
            modes = {
                name: mode_of(folder / name)
                for name in ("postgres-socket", "postgres", "postgres-passwords.json", "postgres.log")
            }
            assert modes == {
                "postgres-socket": 0o700, "postgres": 0o700, "postgres-passwords.json": 0o600, "postgres.log": 0o600,
            }  # fmt: skip

    async def test_the_passwords_are_on_no_command_line_and_in_no_log(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            assert server.pid is not None
            passwords = set((folder / "postgres-passwords.json").read_text().split('"')[3::4])
            assert len(passwords) == 3
            shown = " ".join(psutil.Process(server.pid).cmdline()) + (folder / "postgres.log").read_text()
            assert [password for password in passwords if password in shown] == []

    async def test_lost_passwords_are_told_in_one_sentence(self, folder: Path) -> None:
        async with EmbeddedServer(folder):
            pass
        (folder / "postgres-passwords.json").unlink()
        with pytest.raises(EmbeddedServerError, match="without it the database"):
            await EmbeddedServer(folder).start()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for the server")
    async def test_does_not_run_as_root(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            assert server.pid is not None
            assert 0 not in psutil.Process(server.pid).uids()


class TestSocketFolder:
    async def test_moves_where_the_path_is_too_long(self, folder: Path) -> None:
        deep = folder / ("d" * SOCKET_PATH_BYTES_MAX)
        async with EmbeddedServer(deep) as server:
            await write_row(server, 1)
            sockets = server.socket_folder
            assert sockets.parent == Path(tempfile.gettempdir())
            assert mode_of(sockets) == 0o700
        shutil.rmtree(sockets)

    async def test_a_folder_of_somebody_else_is_refused(self, folder: Path) -> None:
        (folder / "postgres-socket").symlink_to("/tmp")  # noqa: S108 -- what an attacker would put there
        with pytest.raises(EmbeddedServerError, match="belongs to somebody else"):
            await EmbeddedServer(folder).start()


class TestStart:
    async def test_a_server_that_cannot_start_says_why(self, folder: Path) -> None:
        async with EmbeddedServer(folder):
            pass
        (folder / "postgres" / "PG_VERSION").write_text("12\n")
        with pytest.raises(EmbeddedServerError, match=r"did not start: .*incompatible"):
            await EmbeddedServer(folder).start()
