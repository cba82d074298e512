"""Passes connections on: from this machine's loopback into the cluster's network, back out of it, or with a fault.

A socket belongs to the network namespace in which it was made, so one process can stand in two. Tests put a relay
between a client and the API server to cut, stall or refuse what runs over it; TLS passes unchanged.
"""

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

_BLOCK = 1 << 16
_CLONE_NEWNET = 0x40000000
_BACKLOG = 128

MakeSocket = Callable[[], socket.socket]


@contextlib.contextmanager
def network_of(pid: int | None) -> Iterator[None]:
    """Sockets made meanwhile by this thread belong to the network of that process; None: to our own."""
    if pid is None:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as home, Path(f"/proc/{pid}/ns/net").open("rb") as there:
        _enter(libc, there.fileno())
        try:
            yield
        finally:
            _enter(libc, home.fileno())


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace cannot be entered")


class Relay:
    """Listens at one address and passes on to another. Use it as an async context manager."""

    def __init__(
        self,
        target: tuple[str, int],
        *,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        listen_in: int | None = None,
        connect_in: int | None = None,
    ) -> None:
        """`listen_in` and `connect_in` name a process in whose network that end stands."""
        self._target = target
        self._listen = listen
        self._listen_in = listen_in
        self._connect_in = connect_in
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._left_to_pass: int | None = None
        self._refusing = False
        self.port = 0

    async def __aenter__(self) -> Self:
        with network_of(self._listen_in):
            listener = socket.create_server(self._listen, backlog=_BACKLOG)
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._accepted, sock=listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.restore()
        self.refuse()
        await asyncio.gather(*self._tasks)

    @property
    def connections(self) -> int:
        """How many connections pass through now."""
        return len(self._open) // 2

    def cut(self) -> None:
        """Reset every connection that is open."""
        for writer in self._open:
            _reset(writer)

    def cut_after(self, count: int) -> None:
        """Let that many bytes more come back from the target, all connections together, then cut: in mid-event."""
        self._left_to_pass = count

    def stall(self) -> None:
        """Pass nothing on while the connections stay open: a peer that fell silent."""
        self._flowing.clear()

    def refuse(self) -> None:
        """Cut, and close every new connection at once."""
        self._refusing = True
        self.cut()

    def restore(self) -> None:
        """Pass everything on again."""
        self._refusing = False
        self._left_to_pass = None
        self._flowing.set()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with network_of(self._connect_in):
                outward = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            outward.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(outward, self._target)
            except OSError:
                outward.close()
                raise
            far_reader, far_writer = await asyncio.open_connection(sock=outward)
        except OSError:
            _reset(writer)
            return
        if self._refusing:
            _reset(writer)
            _reset(far_writer)
            return
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, counted=False), self._pump(far_reader, writer, counted=True)
            )
        finally:
            for end in (writer, far_writer):
                self._open.discard(end)
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        """Until one side ends; a half-closed connection stays half open, as without us."""
        with contextlib.suppress(OSError):
            while block := await reader.read(_BLOCK):
                await self._flowing.wait()
                if counted and self._left_to_pass is not None:
                    block = block[: self._left_to_pass]
                    self._left_to_pass -= len(block)
                writer.write(block)
                await writer.drain()
                if counted and self._left_to_pass == 0:
                    self._left_to_pass = None
                    writer.close()
                    return
            writer.write_eof()
            return
        _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, as a connection that was cut ends; without lingering there is no farewell."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
