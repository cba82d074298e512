"""Workers that die where they are told to, as a program: orders on its stdin, answers on its stdout.

`die POINT FILE` runs the worker until the fault point is reached, writes the file, and is killed by
SIGKILL right there. `work` runs `python -m guildhall worker`, and `rest` ends it as a user would. Each is a process of
its own, forked from this one, which has imported everything, so that a death costs no start of Python. The answer is
the exit code of the process.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from guildhall.cli.main import main as guildhall
from guildhall.clock import SystemClock, new_id
from guildhall.db.opening import open_database
from guildhall.settings import Settings
from scheduler.clusters.kubernetes.opening import kubernetes_connect
from scheduler.clusters.local import LocalExecutor
from scheduler.context import FAULT_POINTS
from scheduler.worker import run_worker

PATIENCE_SECONDS = 180

import_module("guildhall.cli.serving")  # here, once for all workers: the command line does it late


async def work_until_death(point: str, file: Path) -> None:
    """The worker as it is, but with a fault put in."""

    def reach(reached: str) -> None:
        assert reached in FAULT_POINTS
        if reached == point:
            file.write_text(point, encoding="ascii")
            os.kill(os.getpid(), signal.SIGKILL)

    settings = Settings.from_environment(os.environ)
    executor = LocalExecutor(settings.data_dir / "jobs", hidden_folders=[settings.data_dir], new_id=new_id)
    async with open_database(settings) as database:
        clock = SystemClock()
        connect = kubernetes_connect(clock)
        await run_worker(database, settings, clock, {"local": executor}, asyncio.Event(), connect=connect, reach=reach)


def die(point: str, file: Path) -> int:
    """The end of a process that should never come to its own end."""
    signal.alarm(PATIENCE_SECONDS)  # whose handler is the default: a point that is never reached is another death
    asyncio.run(work_until_death(point, file))
    return 0


def fork(life: Callable[[], int]) -> int:
    """Another process; its pid."""
    pid = os.fork()
    if pid == 0:
        _live(life)
    return pid


def _live(life: Callable[[], int]) -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    code = 70
    try:
        code = life()
    finally:
        os._exit(code)


def exit_code(pid: int) -> int:
    """Wait for the end of a process."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Orders until stdin ends; then a worker that is still there ends too."""
    worker: int | None = None
    for line in sys.stdin:
        order, *words = line.split()
        answer = 0
        if order == "die":
            point, name = words
            file = Path(name)
            answer = exit_code(fork(lambda point=point, file=file: die(point, file)))  # type: ignore[misc]
        elif order == "work":
            worker = fork(lambda: guildhall(["worker"]))
        elif order == "rest":
            assert worker is not None, "nobody works"
            os.kill(worker, signal.SIGTERM)
            answer = exit_code(worker)
            worker = None
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    if worker is not None:
        os.kill(worker, signal.SIGTERM)
        exit_code(worker)


if __name__ == "__main__":
    main()
