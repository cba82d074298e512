"""Processes of the product as users start them: `python -m guildhall …`, each ended by its own pid."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

REPOSITORY = Path(__file__).resolve().parents[3]
START_SECONDS_MAX = 240.0
STOP_SECONDS_MAX = 120.0
POLL_SECONDS = 0.05

T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """Where one installation lives: its folder, its address, and what its processes are told."""

    folder: Path
    url: str
    environment: Mapping[str, str]

    @property
    def log(self) -> Path:
        """What all of its processes print."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def jobs_folder(self) -> Path:
        """Where the local executor keeps its jobs."""
        return self.folder / "jobs"


def make_site(folder: Path, database: Mapping[str, str] | None = None, **settings: str) -> Site:
    """An installation in a folder of its own; with no address of a database it embeds one."""
    bind = f"127.0.0.1:{free_port()}"
    environment = {
        # Without coverage: what is killed leaves none, and the story of the demo measures the same processes.
        **{name: value for name, value in os.environ.items() if not name.startswith(("GUILDHALL_", "COVERAGE_"))},
        "GUILDHALL_DATA_DIR": str(folder),
        "GUILDHALL_BIND": bind,
        "GUILDHALL_RUNNER_GRACE_SECONDS": "2",
        "GUILDHALL_WORKER_LEASE_SECONDS": "2",
        "GUILDHALL_WORKER_POLL_MILLISECONDS": "50",
        "GUILDHALL_UPLOAD_PART_BYTES": "65536",
        "GUILDHALL_LOCAL_DISK_BYTES": str(64 << 20),
        # A hundred callers at once are all let in, however slow the machine.
        "GUILDHALL_GRAPHQL_WORKING_MAX": "200",
        **(database or {}),
        **{f"GUILDHALL_{name.upper()}": value for name, value in settings.items()},
    }
    return Site(folder, f"http://{environment['GUILDHALL_BIND']}", environment)


def start(site: Site, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a process of the installation; the caller ends it."""
    with site.log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env=dict(site.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def end(process: "subprocess.Popen[bytes]") -> None:
    """End it as a user would, and insist."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError("a process did not end when it was told to") from None


def kill(process: "subprocess.Popen[bytes]") -> None:
    """What a power cut or the kernel does to it."""
    process.kill()
    assert process.wait() == -signal.SIGKILL


@contextmanager
def running(site: Site, part: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m guildhall PART` for as long as the block; an API is ready when the block begins."""
    process = start(site, "-m", "guildhall", part)
    try:
        if part in {"api", "all"}:
            wait_until_ready(site, process)
        yield process
    finally:
        end(process)


def wait_until_ready(site: Site, process: "subprocess.Popen[bytes]") -> None:
    """Until the API says so itself."""

    def ready() -> bool:
        assert process.poll() is None, f"the server ended at its start:\n{tail(site)}"
        try:
            return httpx.get(f"{site.url}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    until(ready, "the server is ready", seconds=START_SECONDS_MAX)


def bootstrap(site: Site) -> str:
    """The first administrator's token."""
    target = site.folder / "administrator-token"
    command = ["-m", "guildhall", "bootstrap", "--email", "pat@guildhall.example", "--name", "Pat Porter"]
    made = start(site, *command, "--token-file", str(target))
    assert made.wait(START_SECONDS_MAX) == 0, tail(site)
    return target.read_text(encoding="ascii").strip()


def tail(site: Site) -> str:
    """The end of the log, for the message of a failed test."""
    return site.log.read_text(encoding="utf-8", errors="replace")[-4000:]


def until(ask: Callable[[], T | None], what: str, *, seconds: float = 120.0) -> T:
    """Ask until the answer is true, and return it."""
    ends_at = time.monotonic() + seconds
    while True:
        found = ask()
        if found:
            return found
        assert time.monotonic() < ends_at, f"not within {seconds} seconds: {what}"
        time.sleep(POLL_SECONDS)


def marked_processes(names: Sequence[str]) -> list[int]:
    """Processes that carry the mark of one of these launches, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GUILDHALL_LAUNCH") in names:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
