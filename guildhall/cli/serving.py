"""Commands that stay until they are told to stop: `all`, `api`, `worker`."""

import argparse
import asyncio

from granian.constants import Interfaces
from granian.server.embed import Server

from guildhall.app import create_app
from guildhall.cli.parts import run_parts, told_to_stop
from guildhall.cli.sealing import sealing_parts
from guildhall.clock import Clock, SystemClock, new_id
from guildhall.db.opening import open_database
from guildhall.db.transaction import Database
from guildhall.errors import Unavailable
from guildhall.settings import Settings
from scheduler.clusters.kubernetes.opening import kubernetes_connect
from scheduler.clusters.local import LocalExecutor
from scheduler.worker import run_worker

ANNOUNCE_TRIES_MAX = 600
ANNOUNCE_SECONDS_BETWEEN = 0.05
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- looked up, not bound


class CannotListen(Unavailable):
    """The API's address is taken, or is none of this machine's."""

    code = "CANNOT_LISTEN"


async def run_all(settings: Settings, _: argparse.Namespace) -> None:
    """`all`: on a laptop, everything in one process."""
    clock = SystemClock()
    async with told_to_stop() as stop, open_database(settings) as database:
        await run_parts(
            stop,
            {
                "API": _serve_api(settings, database, clock, stop),
                "worker": _work(settings, database, clock, stop),
                **sealing_parts(settings, database, clock, stop),
            },
        )


async def run_api(settings: Settings, _: argparse.Namespace) -> None:
    """`api`."""
    async with told_to_stop() as stop, open_database(settings) as database:
        await run_parts(stop, {"API": _serve_api(settings, database, SystemClock(), stop)})


async def run_worker_alone(settings: Settings, _: argparse.Namespace) -> None:
    """`worker`."""
    async with told_to_stop() as stop, open_database(settings) as database:
        await run_parts(stop, {"worker": _work(settings, database, SystemClock(), stop)})


async def _serve_api(settings: Settings, database: Database, clock: Clock, stop: asyncio.Event) -> None:
    app = create_app(settings, database, clock)
    server = Server(
        app,
        address=settings.bind_host,
        port=settings.bind_port,
        interface=Interfaces.ASGI,
        websockets=True,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    announcing = asyncio.create_task(_announce(settings))
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await app.end_streams()
            server.stop()  # type: ignore[no-untyped-call]
        await serving
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]  # granian appends its stack
        raise CannotListen(f"The API cannot listen at {settings.bind} (GUILDHALL_BIND): {reason}.") from error
    finally:
        stopping.cancel()
        announcing.cancel()


async def _announce(settings: Settings) -> None:
    """Tell the address on stdout as soon as somebody answers there, for people and for programs that start us."""
    host = _LOOPBACK.get(settings.bind_host, settings.bind_host)
    for _ in range(ANNOUNCE_TRIES_MAX):
        try:
            _, writer = await asyncio.open_connection(host, settings.bind_port)
        except OSError:
            await asyncio.sleep(ANNOUNCE_SECONDS_BETWEEN)
        else:
            writer.close()
            what = "GraphiQL" if settings.graphql_graphiql else "GraphQL"
            print(f"Guildhall is at {settings.public_url} ({what} at {settings.public_url}/graphql).", flush=True)
            return


async def _work(settings: Settings, database: Database, clock: Clock, stop: asyncio.Event) -> None:
    executor = LocalExecutor(
        settings.data_dir / "jobs",
        hidden_folders=[settings.data_dir],
        disk_bytes=settings.local_disk_bytes,
        new_id=new_id,
    )
    connect = kubernetes_connect(clock, api_networks=[str(network) for network in settings.jobs_networks])
    await run_worker(database, settings, clock, {"local": executor}, stop, connect=connect)
