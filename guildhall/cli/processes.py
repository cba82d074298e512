"""`api` as several processes behind one address: started, watched, started again when they die, and ended together.

Python runs in one thread of a process, so one process answers with one processor. Each process listens at the address
with a socket of its own, and has the other end of a channel to us. It says there that it has started, and stops when
the channel ends: because we were told to stop, or because we are gone, however that happened.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

from prometheus_client import multiprocess

from guildhall.cli.binding import bound_socket, welcome
from guildhall.cli.bucket import require_bucket
from guildhall.cli.metrics_folder import metrics_folder
from guildhall.cli.parts import SHUTDOWN_SECONDS_MAX, run_parts, told_to_stop
from guildhall.errors import Unavailable
from guildhall.settings import Settings, SettingsError

DEATHS_MAX = 5
"""How often processes may die within `DEATHS_SECONDS`; then all are stopped, for whoever watches us to see."""

DEATHS_SECONDS = 60.0
STOP_SECONDS_MAX = SHUTDOWN_SECONDS_MAX - 2.0
"""How long a process may take to stop; then it is ended, before anybody does it to us."""

RESTART_SECONDS = 0.5
"""How long a process that died waits to be started again; twice as long after each further death of that time."""

POOL_MIN = 2
KEPT_MIN = 1

logger = logging.getLogger(__name__)


class ProcessDied(Unavailable):
    """A process of the API could not start, or they die faster than it makes sense to start them again."""

    code = "PROCESS_DIED"


def require_shareable(settings: Settings, count: int) -> None:
    """Refuse what several processes cannot share; raises SettingsError."""
    if settings.database_url is None:
        raise SettingsError(
            "Several processes of the API need a database beside them: set GUILDHALL_DATABASE_URL, or run one process."
        )
    for name, have, least in (
        ("GUILDHALL_DATABASE_POOL_SIZE", settings.database_pool_size, POOL_MIN),
        ("GUILDHALL_DATABASE_KEPT_CONNECTIONS", settings.database_kept_connections, KEPT_MIN),
    ):
        if have < count * least:
            raise SettingsError(
                f"{name} is {have}, which {count} processes cannot share: it must be {count * least} at least.",
                field=name,
            )


async def run_processes(settings: Settings, count: int) -> None:
    """Until told to stop; raises SettingsError, BucketMissing, CannotListen, ProcessDied, PartEnded."""
    require_shareable(settings, count)
    await require_bucket(settings)
    bound_socket(settings).close()  # somebody who shares the address with themself would share it with us as well
    with (
        contextlib.closing(bound_socket(settings, shared=True)),  # while none of ours is there, it stays ours
        metrics_folder() as metrics,
    ):
        async with told_to_stop() as stop:
            processes = Processes(partial(_command, count), count, metrics, stop)
            await run_parts(stop, processes.parts(settings))


def _command(count: int, channel: int) -> list[str]:
    return [sys.executable, "-m", "guildhall", "api", "--processes", str(count), "--channel", str(channel)]


class Processes:
    """The processes of one address, each a command that is made of the descriptor of its channel.

    The first is started alone: what keeps it from starting is told once.
    """

    def __init__(self, command: Callable[[int], list[str]], count: int, metrics: Path, stop: asyncio.Event) -> None:
        self._command = command
        self._count = count
        self._metrics = metrics
        self._stop = stop
        self._first = asyncio.Event()
        self._started: set[int] = set()
        self._all = asyncio.Event()
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)

    def parts(self, settings: Settings) -> dict[str, Coroutine[None, None, None]]:
        """Each process as a part that goes on until all are stopped, and the part that tells that all have started."""
        kept = {f"process {number} of the API": self._keep(number) for number in range(1, self._count + 1)}
        return {**kept, "telling": self._tell(settings)}

    async def _tell(self, settings: Settings) -> None:
        await self._until(self._all)
        if not self._stop.is_set():
            print(welcome(settings), flush=True)
        await self._stop.wait()

    async def _keep(self, number: int) -> None:
        if number > 1:
            await self._until(self._first)
        while not self._stop.is_set():
            ended = await self._run(number)
            if self._stop.is_set():
                return
            if number not in self._started:
                raise ProcessDied(f"Process {number} of the API ended with {ended} before it had started.")
            await self._pause(number, ended)

    async def _run(self, number: int) -> int:
        """One process, from its start to its end; returns its exit code, negative for a signal."""
        ours, theirs = socket.socketpair()
        with contextlib.closing(ours):
            with contextlib.closing(theirs):
                process = await self._start(theirs)
            ours.setblocking(False)
            reading = asyncio.create_task(self._read(number, ours))
            ending = asyncio.create_task(process.wait())
            stopping = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if process.returncode is None:
                    ours.shutdown(socket.SHUT_WR)
                    await asyncio.wait({ending}, timeout=STOP_SECONDS_MAX)
            finally:
                stopping.cancel()
                reading.cancel()
                if process.returncode is None:
                    process.kill()
                await ending
                multiprocess.mark_process_dead(process.pid, str(self._metrics))  # type: ignore[no-untyped-call]
        return await ending

    async def _start(self, channel: socket.socket) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command(channel.fileno()),
            pass_fds=(channel.fileno(),), stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # or a terminal's Ctrl-C would reach it beside us
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self._metrics)},
        )  # fmt: skip

    async def _read(self, number: int, channel: socket.socket) -> None:
        """The process says one thing: that it has started."""
        if await asyncio.get_running_loop().sock_recv(channel, 1):
            self._started.add(number)
            self._first.set()
            if len(self._started) == self._count:
                self._all.set()

    async def _pause(self, number: int, ended: int) -> None:
        """Before one that died is started again; raises ProcessDied where too many do."""
        now = asyncio.get_running_loop().time()
        self._deaths.append(now)
        lately = sum(1 for moment in self._deaths if now - moment < DEATHS_SECONDS)
        if lately >= DEATHS_MAX:
            raise ProcessDied(f"Processes of the API died {lately} times within {DEATHS_SECONDS:.0f} seconds.")
        seconds = RESTART_SECONDS * 2 ** (lately - 1)
        logger.error("Process %s of the API ended with %s; it is started again in %.1f s.", number, ended, seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _until(self, event: asyncio.Event) -> None:
        """Until that has happened, or all are to stop."""
        waiting = [asyncio.create_task(each.wait()) for each in (event, self._stop)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
