import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.cluster.relay import Relay

SECONDS_MAX = 120


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(1000):
            writer.write(block)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def through(relay: Relay) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            yield reader, writer
    finally:
        writer.transport.abort()


class TestRelay:
    async def test_passes_on_until_the_client_ends(self) -> None:
        async with echo() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as (reader, writer):
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert relay.connections == 1
            writer.write_eof()
            assert await reader.read() == b""

    async def test_cut_resets_what_is_open_and_takes_new_connections(self) -> None:
        async with echo() as port, Relay(("127.0.0.1", port)) as relay:
            async with through(relay) as (reader, writer):
                writer.write(b"hello")
                await reader.readexactly(5)
                relay.cut()
                with pytest.raises(ConnectionResetError):
                    await reader.readexactly(1)
            async with through(relay) as (reader, writer):
                writer.write(b"again")
                assert await reader.readexactly(5) == b"again"

    async def test_cut_after_ends_in_the_middle(self) -> None:
        async with echo() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as (reader, writer):
            relay.cut_after(3)
            writer.write(b"hello")
            assert await reader.read() == b"hel"

    async def test_stalled_says_nothing_until_restored(self) -> None:
        async with echo() as port, Relay(("127.0.0.1", port)) as relay, through(relay) as (reader, writer):
            relay.stall()
            writer.write(b"hello")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(5), 0.1)
            relay.restore()
            assert await reader.readexactly(5) == b"hello"

    async def test_refuses_until_restored(self) -> None:
        async with echo() as port, Relay(("127.0.0.1", port)) as relay:
            relay.refuse()
            async with through(relay) as (reader, _):
                with pytest.raises(ConnectionResetError):
                    await reader.readexactly(1)
            relay.restore()
            async with through(relay) as (reader, writer):
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"

    async def test_a_target_that_is_not_there_looks_like_a_cut(self) -> None:
        async with echo() as port:
            pass
        async with Relay(("127.0.0.1", port)) as relay, through(relay) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
