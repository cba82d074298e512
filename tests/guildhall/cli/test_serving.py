"""The server as a process: it comes up, says where, goes down when told, and comes back after a kill."""

import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from guildhall.db.embedded_system import running_server_pid
from guildhall.db.transaction import Database
from tests.guildhall.cli.programs import ROOT, announced, environment, started, stopped

WHO_AM_I = {"query": "{ viewer { actor { __typename ... on User { email } } } }"}


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gh-"))
    yield made
    assert running_server_pid(made / "postgres") is None, "a test left a server behind"
    shutil.rmtree(made)


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def bootstrap(settings: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable,
        "-m",
        "guildhall",
        "bootstrap",
        "--email",
        "ada@example.org",
        "--name",
        "Ada",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=settings, timeout=120)


class TestAll:
    @pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
    def test_comes_up_and_goes_down_when_told(self, folder: Path, port: int, sign: signal.Signals) -> None:
        with started("all", environment(folder, port)) as process:
            address = announced(process)
            assert address == f"http://127.0.0.1:{port}"
            assert httpx.get(f"{address}/readyz").json() == {"status": "ready"}
            children = psutil.Process(process.pid).children(recursive=True)
            assert stopped(process, sign) == 0
        assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []

    @pytest.mark.parametrize(("setting", "what"), [("true", "GraphiQL"), ("false", "GraphQL")])
    def test_tells_of_graphiql_where_it_is(self, folder: Path, port: int, setting: str, what: str) -> None:
        address = f"http://127.0.0.1:{port}"
        with started("all", environment(folder, port, GUILDHALL_GRAPHQL_GRAPHIQL=setting)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"Guildhall is at {address} ({what} at {address}/graphql).\n"
            assert stopped(process) == 0

    def test_comes_back_after_a_kill_with_what_it_knew(self, folder: Path, port: int) -> None:
        settings = environment(folder, port)
        token = bootstrap(settings).stdout.strip()
        for _ in range(2):
            with started("all", settings) as process:
                address = announced(process)
                answer = httpx.post(f"{address}/graphql", json=WHO_AM_I, headers={"authorization": f"Bearer {token}"})
                assert answer.json() == {
                    "data": {"viewer": {"actor": {"__typename": "User", "email": "ada@example.org"}}}
                }
                process.kill()
        with started("all", settings) as process:
            announced(process)
            assert stopped(process) == 0

    def test_a_taken_address_is_one_sentence(self, folder: Path, port: int) -> None:
        with socket.socket() as rival:
            rival.bind(("127.0.0.1", port))
            rival.listen()
            with started("all", environment(folder, port)) as process:
                _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert errors.splitlines()[-1] == (
            f"The API cannot listen at 127.0.0.1:{port} (GUILDHALL_BIND): Address already in use."
        )
        assert "Traceback" not in errors


class TestParts:
    def test_the_api_and_a_worker_beside_each_other(self, database: Database, folder: Path, port: int) -> None:
        settings = environment(folder, port, GUILDHALL_DATABASE_URL=database.url)
        with started("api", settings) as api, started("worker", settings) as worker:
            assert httpx.get(f"{announced(api)}/readyz").json() == {"status": "ready"}
            assert worker.poll() is None
            assert stopped(api) == 0
            assert stopped(worker) == 0
        assert not (folder / "postgres").exists()


class TestBootstrap:
    def test_makes_the_first_administrator_once(self, folder: Path, port: int) -> None:
        settings = environment(folder, port)
        token_file = folder / "token"
        made = bootstrap(settings, "--token-file", str(token_file))
        assert (made.returncode, made.stdout) == (0, "")
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        assert token_file.read_text().startswith("ghu_")
        again = bootstrap(settings)
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr.splitlines()[-1].startswith("There is an administrator already")

    def test_a_token_that_cannot_be_written_leaves_no_administrator(self, folder: Path, port: int) -> None:
        settings = environment(folder, port)
        (folder / "taken").write_text("mine")
        refused = bootstrap(settings, "--token-file", str(folder / "taken"))
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.splitlines()[-1] == f"The token cannot be written to {folder / 'taken'}: File exists."
        assert (folder / "taken").read_text() == "mine"
        assert bootstrap(settings).stdout.startswith("ghu_")
