"""Commands that stay until they are told to stop: `all`, `api`, `worker`."""

import argparse
import asyncio
import gc
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

from granian._granian import SocketHolder  # where its types are
from granian.constants import Interfaces
from granian.server.embed import Server

from guildhall.app import Application, create_app
from guildhall.cli.binding import BACKLOG, CannotListen, bound_socket, listen, welcome
from guildhall.cli.bucket import require_bucket
from guildhall.cli.parts import run_parts, told_to_stop
from guildhall.cli.sealing import sealing_parts
from guildhall.clock import Clock, SystemClock, new_id
from guildhall.db.opening import open_database
from guildhall.db.transaction import Database
from guildhall.settings import Settings
from scheduler.clusters.kubernetes.opening import kubernetes_connect
from scheduler.clusters.local import LocalExecutor
from scheduler.worker import run_worker

TURNS = 20


async def run_all(settings: Settings, _: argparse.Namespace) -> None:
    """`all`: on a laptop, everything in one process."""
    clock = SystemClock()
    await require_bucket(settings)
    with closing(bound_socket(settings)) as bound:
        async with told_to_stop() as stop, open_database(settings) as database:
            await run_parts(
                stop,
                {
                    "API": _serve_api(settings, database, clock, stop, bound, partial(_announce, settings)),
                    "worker": _work(settings, database, clock, stop),
                    **sealing_parts(settings, database, clock, stop),
                },
            )


async def run_api(settings: Settings, _: argparse.Namespace) -> None:
    """`api` in one process."""
    await require_bucket(settings)
    with closing(bound_socket(settings)) as bound:
        async with told_to_stop() as stop, open_database(settings) as database:
            serving = _serve_api(settings, database, SystemClock(), stop, bound, partial(_announce, settings))
            await run_parts(stop, {"API": serving})


async def run_share(settings: Settings, channel: socket.socket, count: int) -> None:
    """One of `count` processes of `api`, with its channel to their parent."""
    settings = replace(
        settings,
        database_pool_size=settings.database_pool_size // count,
        database_kept_connections=settings.database_kept_connections // count,
    )
    with closing(channel), closing(bound_socket(settings, shared=True)) as bound:
        channel.setblocking(False)
        async with told_to_stop() as stop, open_database(settings) as database:
            listening = asyncio.create_task(_until_let_go(channel, stop))
            serving = _serve_api(settings, database, SystemClock(), stop, bound, partial(_tell_parent, channel))
            try:
                await run_parts(stop, {"API": serving})
            finally:
                listening.cancel()


async def _until_let_go(channel: socket.socket, stop: asyncio.Event) -> None:
    """The parent never says anything: its end of the channel ends, by its will or with it."""
    with suppress(OSError):
        await asyncio.get_running_loop().sock_recv(channel, 1)
    stop.set()


def _tell_parent(channel: socket.socket) -> None:
    """We have started. A parent that is gone meanwhile is noticed by the end of the channel."""
    with suppress(OSError):
        channel.send(b"+")


def _announce(settings: Settings) -> None:
    print(welcome(settings), flush=True)


async def run_worker_alone(settings: Settings, _: argparse.Namespace) -> None:
    """`worker`."""
    await require_bucket(settings)
    async with told_to_stop() as stop, open_database(settings) as database:
        await run_parts(stop, {"worker": _work(settings, database, SystemClock(), stop)})


async def _serve_api(
    settings: Settings,
    database: Database,
    clock: Clock,
    stop: asyncio.Event,
    bound: socket.socket,
    tell: Callable[[], None],
) -> None:
    """On a socket that is bound; it listens as soon as the application has started, which `tell` is told then."""
    app = create_app(settings, database, clock)
    refused: list[CannotListen] = []
    began = asyncio.Event()

    def begin() -> None:
        began.set()
        gc.freeze()  # modules and schema stay: each full round of the collector would go through all of them
        try:
            listen(bound, settings)
        except CannotListen as error:
            refused.append(error)
            stop.set()
        else:
            tell()

    app.on_start(begin)
    server = _Server(app, bound)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await _until_begun(began, serving)
            await app.end_streams()
            server.stop()  # type: ignore[no-untyped-call]
        await serving
    finally:
        stopping.cancel()
    if refused:
        raise refused[0]


async def _until_begun(began: asyncio.Event, serving: "asyncio.Task[None]") -> None:
    """Granian does not hear that it is to stop before it serves, which it does within some turns of the loop."""
    beginning = asyncio.create_task(began.wait())
    await asyncio.wait({serving, beginning}, return_when=asyncio.FIRST_COMPLETED)
    beginning.cancel()
    for _ in range(TURNS):
        await asyncio.sleep(0)


class _Server(Server):
    """Granian on a socket that is there already: by itself it would share any address with others of its kind."""

    def __init__(self, app: Application, bound: socket.socket) -> None:
        super().__init__(app, interface=Interfaces.ASGI, websockets=True, backlog=BACKLOG, log_enabled=False)
        self._bound = bound

    def _init_shared_socket(self) -> None:
        """In place of binding one. What Granian is given it closes, so it gets a descriptor of its own."""
        self._ssp = None
        self._shd = SocketHolder(self._bound.dup().detach(), False, BACKLOG)  # type: ignore[call-arg,assignment]


async def _work(settings: Settings, database: Database, clock: Clock, stop: asyncio.Event) -> None:
    executor = LocalExecutor(
        settings.data_dir / "jobs",
        hidden_folders=[settings.data_dir],
        disk_bytes=settings.local_disk_bytes,
        new_id=new_id,
    )
    connect = kubernetes_connect(clock, api_networks=[str(network) for network in settings.jobs_networks])
    await run_worker(database, settings, clock, {"local": executor}, stop, connect=connect)
