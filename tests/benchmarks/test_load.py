"""What the load generator says of a server that refuses."""

import asyncio
import socket
from itertools import count
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.load import LoadFailed, drive

WELL = 5
SECONDS_MAX = 120


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("built")


@pytest.fixture(autouse=True)
def _built_elsewhere(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "OUT", elsewhere)


class TestDrive:
    async def test_a_side_that_refuses_is_named_with_its_first_answers(self) -> None:
        numbers, serving = count(), set[asyncio.Task[None] | None]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving.add(asyncio.current_task())
            try:
                while await reader.readuntil(b"\r\n\r\n"):
                    await reader.readexactly(len(b"{}"))
                    status = b"200 OK" if next(numbers) < WELL else b"500 No"
                    writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\nsaid")
            except asyncio.IncompleteReadError:  # the generator has gone
                writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            good = await drive("a side", port, [b"{}"], {}, requests=WELL)
            assert (good.requests, good.bytes) == (WELL, 4)
            with pytest.raises(LoadFailed) as failed:
                await drive("a side", port, [b"{}"], {}, requests=7)
            async with asyncio.timeout(SECONDS_MAX):
                while len(serving) < 2 * load.CONNECTIONS or not all(task is None or task.done() for task in serving):
                    await asyncio.sleep(0.01)
        first, *answers = str(failed.value).splitlines()
        assert first == "a side: 7 of 7 requests failed; the first answers:"
        assert [answer.split("ms: ")[1] for answer in answers] == ["500 said"] * 3

    async def test_a_side_that_is_not_there_is_named(self) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # nobody else can have the port, and nobody listens
            with pytest.raises(LoadFailed, match=r"^nobody: .* connection refused"):
                await drive("nobody", nobody.getsockname()[1], [b"{}"], {}, requests=1)
