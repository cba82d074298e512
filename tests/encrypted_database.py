"""The tests' own PostgreSQL behind TLS, as the ones that others run: its wheel is built without."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from guildhall.db.embedded import EmbeddedServer
from tests.cluster.certificates import Authority

_ASKS_FOR_TLS = bytes.fromhex("0000000804d2162f")
_SOCKET = ".s.PGSQL.5432"
_BLOCK = 1 << 16


@dataclass
class EncryptedDatabase:
    """Listens on loopback, and passes on what is encrypted; anything else is closed at once and counted."""

    server: EmbeddedServer
    trusted: ssl.SSLContext
    port: int = 0
    encrypted: int = 0
    refused: int = 0
    _passing: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, role: str, database: str, *, host: str = "127.0.0.1", options: str = "") -> str:
        """The address of a role's database, reached at that host."""
        parts = urlsplit(self.server.url(role, database))
        return f"postgresql+asyncpg://{parts.username}:{parts.password}@{host}:{self.port}/{database}{options}"

    async def passing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until either side ends."""
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(_ASKS_FOR_TLS)) != _ASKS_FOR_TLS:
                self.refused += 1
                return
            writer.write(b"S")
            await writer.start_tls(self.trusted)
            self.encrypted += 1
            inner_reader, inner_writer = await asyncio.open_unix_connection(self.server.socket_folder / _SOCKET)
            with contextlib.closing(inner_writer):
                both = [asyncio.create_task(_pump(*ends)) for ends in ((reader, inner_writer), (inner_reader, writer))]
                try:
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for each in both:
                        each.cancel()
                    await asyncio.gather(*both, return_exceptions=True)

    async def end(self) -> None:
        """Drop every connection."""
        for task in tuple(self._passing):
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)


@contextlib.asynccontextmanager
async def encrypted_database(
    server: EmbeddedServer, authority: Authority, *addresses: str
) -> AsyncIterator[EncryptedDatabase]:
    """The server, reached by these names and addresses, for which the authority signs."""
    authority.server("database", ["127.0.0.1", *addresses])
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.load_cert_chain(authority.folder / "database.crt", authority.folder / "database.key")
    front = EncryptedDatabase(server, trusted)
    listening = await asyncio.start_server(front.passing, "127.0.0.1", 0)
    front.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield front
        listening.close()
        await front.end()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(_BLOCK):
        writer.write(block)
        await writer.drain()
