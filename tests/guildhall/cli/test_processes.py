"""Several processes of the API: all answer, all count, each is started again, and none outlives us."""

import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from guildhall.cli import processes
from guildhall.cli.parts import run_parts
from guildhall.cli.processes import ProcessDied, Processes, require_shareable
from guildhall.db.transaction import Database
from guildhall.settings import Settings, SettingsError
from tests.guildhall.cli.programs import announced, environment, started, stopped

SECONDS_MAX = 120
CONNECTIONS_MAX = 100
HEALTHZ = 'guildhall_http_requests_total{method="GET",route="/healthz",status="200"} '


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def established(process: psutil.Process, port: int) -> bool:
    """Whether the process has a connection at our address."""
    found = process.net_connections()
    return any(each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED for each in found)


def asked_until_all_answer(address: str, port: int, children: list[psutil.Process]) -> int:
    """Ask over one connection after the other, all kept open, until each process has one; how often it was asked."""
    clients: list[httpx.Client] = []
    try:
        while not clients or not all(established(child, port) for child in children):
            assert len(clients) < CONNECTIONS_MAX, "the kernel deals out connections"
            clients.append(httpx.Client(timeout=SECONDS_MAX))
            assert clients[-1].get(f"{address}/healthz").json() == {"status": "alive"}
        return len(clients)
    finally:
        for client in clients:
            client.close()


def counted(address: str) -> float:
    """How often /healthz was asked, as /metrics tells it."""
    lines = httpx.get(f"{address}/metrics", timeout=SECONDS_MAX).text.splitlines()
    return sum(float(line.removeprefix(HEALTHZ)) for line in lines if line.startswith(HEALTHZ))


class TestRunProcesses:
    async def test_all_answer_and_count_together_and_stop_when_told(
        self, database: Database, tmp_path: Path, port: int
    ) -> None:
        settings = environment(tmp_path, port, GUILDHALL_DATABASE_URL=database.url, GUILDHALL_API_PROCESSES="2")
        with started("api", settings) as parent:
            address = announced(parent)
            children = psutil.Process(parent.pid).children()
            assert len(children) == 2
            asked = asked_until_all_answer(address, port, children)
            async with asyncio.timeout(SECONDS_MAX):
                while counted(address) < asked:  # it is counted after the last byte
                    await asyncio.sleep(0.05)
            assert counted(address) == asked
            assert stopped(parent) == 0
        assert psutil.wait_procs(children, SECONDS_MAX)[1] == []

    def test_one_that_is_killed_is_missed_by_nobody_and_none_outlives_the_parent(
        self, database: Database, tmp_path: Path, port: int
    ) -> None:
        # Who is killed takes nothing away: what it kept among temporary files goes with the test's own.
        settings = environment(tmp_path, port, GUILDHALL_DATABASE_URL=database.url, TMPDIR=str(tmp_path))
        with started("api", settings, "--processes", "2") as parent:
            address = announced(parent)
            family = psutil.Process(parent.pid)
            killed, left = family.children()
            command = left.cmdline()[:-1]
            killed.kill()
            assert psutil.wait_procs([killed], SECONDS_MAX)[1] == []
            for _ in range(10):
                assert httpx.get(f"{address}/healthz", timeout=SECONDS_MAX).status_code == 200
            parent.kill()
            parent.wait()
            assert psutil.wait_procs([left, *orphans(command, port)], SECONDS_MAX)[1] == []


def orphans(command: list[str], port: int) -> Iterator[psutil.Process]:
    """Those of the command, whoever their parent is now."""
    for each in psutil.process_iter(["cmdline"]):
        if (each.info["cmdline"] or [])[: len(command)] == command and at_port(each, port):
            yield each


def at_port(process: psutil.Process, port: int) -> bool:
    """Whether it is of this test: others may run the same command elsewhere."""
    try:
        return process.environ().get("GUILDHALL_BIND") == f"127.0.0.1:{port}"
    except psutil.NoSuchProcess:
        return False


class TestRequireShareable:
    def test_refuses_what_cannot_be_shared(self) -> None:
        url = "postgresql://one@db/guildhall"
        with pytest.raises(SettingsError, match="need a database beside them: set GUILDHALL_DATABASE_URL"):
            require_shareable(Settings(), 2)
        with pytest.raises(SettingsError, match="POOL_SIZE is 10, which 6 processes cannot share: it must be 12 at"):
            require_shareable(Settings(database_url=url), 6)
        with pytest.raises(SettingsError, match="KEPT_CONNECTIONS is 1, which 2 processes cannot share"):
            require_shareable(Settings(database_url=url, database_kept_connections=1), 2)
        require_shareable(Settings(database_url=url), 5)

    def test_is_told_as_a_mistake_of_use(self, tmp_path: Path, port: int) -> None:
        with started("api", environment(tmp_path, port), "--processes", "2") as program:
            _, errors = program.communicate(timeout=SECONDS_MAX)
        assert program.returncode == 2
        assert errors.splitlines()[-1].startswith("Several processes of the API need a database beside them")

    @pytest.mark.parametrize("number", ["0", "65", "two"])
    def test_so_is_a_number_that_none_can_be(self, tmp_path: Path, port: int, number: str) -> None:
        with started("api", environment(tmp_path, port), "--processes", number) as program:
            _, errors = program.communicate(timeout=SECONDS_MAX)
        assert program.returncode == 2
        assert errors.splitlines()[-1].endswith(f"{number!r} is no number from 1 to 64")

    def test_a_taken_address_is_one_sentence(self, tmp_path: Path, port: int) -> None:
        with socket.socket() as rival:
            rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            rival.bind(("127.0.0.1", port))
            rival.listen()
            url = "postgresql://one@db/guildhall"
            settings = environment(tmp_path, port, GUILDHALL_DATABASE_URL=url)
            with started("api", settings, "--processes", "2") as program:
                _, errors = program.communicate(timeout=SECONDS_MAX)
        assert program.returncode == 1
        assert errors.splitlines()[-1] == (
            f"The API cannot listen at 127.0.0.1:{port} (GUILDHALL_BIND): Address already in use."
        )


STARTS = "import os, sys; c = int(sys.argv[1]); os.write(c, b'+'); "
"""A process that says that it has started; what it does then follows."""

STAYS = STARTS + "os.read(c, 1)"
DIES = STARTS + "os._exit(7)"
DEAF = STARTS + "import signal; signal.pause()"
NEVER_STARTS = "raise SystemExit(3)"


class TestProcesses:
    async def kept(self, program: str, folder: Path, stop: asyncio.Event, settings: Settings) -> None:
        def command(channel: int) -> list[str]:
            return [sys.executable, "-c", program, str(channel)]

        await run_parts(stop, Processes(command, 2, folder, stop).parts(settings))

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(database_url="postgresql://one@db/guildhall")

    async def test_tell_when_all_have_started_and_stop(
        self, tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(self.kept(STAYS, tmp_path, stop, settings))
        told = ""
        async with asyncio.timeout(SECONDS_MAX):
            while not told:
                await asyncio.sleep(0.01)
                told = capsys.readouterr().out
        stop.set()
        await running
        assert told == f"Guildhall is at {settings.public_url} (GraphiQL at {settings.public_url}/graphql).\n"

    async def test_one_that_cannot_start_ends_all(
        self, tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(ProcessDied, match="Process 1 of the API ended with 3 before it had started"):
            await self.kept(NEVER_STARTS, tmp_path, asyncio.Event(), settings)
        assert capsys.readouterr().out == ""

    async def test_those_that_die_are_started_again_but_not_for_ever(
        self, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(processes, "RESTART_SECONDS", 0.001)
        monkeypatch.setattr(processes, "DEATHS_SECONDS", 3_600.0)
        with pytest.raises(ProcessDied, match="Processes of the API died 5 times within 3600 seconds"):
            await self.kept(DIES, tmp_path, asyncio.Event(), settings)
        assert caplog.text.count("of the API ended with 7; it is started again in") == 4

    async def test_one_that_does_not_stop_is_ended(
        self, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(processes, "STOP_SECONDS_MAX", 0.01)
        stop = asyncio.Event()
        running = asyncio.create_task(self.kept(DEAF, tmp_path, stop, settings))
        async with asyncio.timeout(SECONDS_MAX):
            while not capsys.readouterr().out:
                await asyncio.sleep(0.01)
        stop.set()
        await running
