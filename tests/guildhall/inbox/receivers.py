"""Receivers of webhooks on loopback, which answer as they are told and keep what they were sent."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from standardwebhooks import Webhook as Verifier

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
FAILS = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"
CLOSES = b""
HANGS = None


def busy(after: str, status: int = 503) -> bytes:
    return f"HTTP/1.1 {status} Busy\r\nretry-after: {after}\r\ncontent-length: 0\r\n\r\n".encode()


def redirects(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()


@dataclass(frozen=True)
class Taken:
    """One request."""

    head: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified_by(self, secret: str) -> object:
        """What a receiver's library makes of it; raises where the signature is none of this secret."""
        return Verifier(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """Answers with each of `answers` in turn, and with the last of them from then on; HANGS hangs up when told to."""

    answers: Sequence[bytes | None] = (OK,)
    taken: list[Taken] = field(default_factory=list)
    host: str = "127.0.0.1"
    port: int = 0
    scheme: str = "http"
    endless: bool = False
    at_once: int = 0
    at_once_most: int = 0
    on_request: Callable[[], None] = lambda: None
    hangs_up: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/hooks"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.at_once_most = max(self.at_once, self.at_once_most)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # they hang up on us
        finally:
            self.at_once -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        answer = self.answers[min(len(self.taken), len(self.answers) - 1)]
        self.taken.append(Taken(head, headers, body))
        self.on_request()
        if answer is None:
            leaving = [asyncio.create_task(each) for each in (reader.read(), self.hangs_up.wait())]
            _, left = await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
            for each in left:
                each.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            return
        writer.write(answer)
        await writer.drain()
        while self.endless:
            writer.write(b"x" * 65_536)
            await writer.drain()


@asynccontextmanager
async def receiving(
    *answers: bytes | None, endless: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver(answers or (OK,), endless=endless, scheme="https" if tls else "http")
    server = await asyncio.start_server(receiver.serve, receiver.host, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()
