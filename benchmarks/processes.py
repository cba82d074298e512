"""What is measured runs as a process of its own: started, waited for, weighed and ended here."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS_MAX = 60
END_SECONDS_MAX = 20


class NotReady(Exception):
    """A server that ended or never listened; its output is in the message."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running(
    command: Sequence[str], port: int, *, environment: Mapping[str, str], log: Path
) -> AsyncIterator[psutil.Process]:
    """The process, once it listens; ended with the block."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, stdout=output, stderr=output
        )
    try:
        await _until_listening(process, port, log)
        yield psutil.Process(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS_MAX)
        except TimeoutError:
            process.kill()
            await process.wait()


def python(*arguments: str) -> list[str]:
    """This interpreter."""
    return [sys.executable, *arguments]


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of the process and of its children, those that have ended included."""
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mib(process: psutil.Process) -> float:
    """What the process holds for itself (unique set size), its children's added."""
    found = [each.memory_full_info().uss for each in [process, *process.children(recursive=True)]]
    return float(sum(found)) / (1 << 20)


async def _until_listening(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    for _ in range(READY_SECONDS_MAX * 20):
        if process.returncode is not None:
            break
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise NotReady(f"{log.stem} does not listen: {log.read_text(errors='replace')[-2000:]}")
