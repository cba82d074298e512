"""The server of the demo: `python -m guildhall all` on a data folder of the demo's own, ended by its own pid."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from guildhall_client.errors import Unreachable

START_SECONDS_MAX = 180
STOP_SECONDS_MAX = 60
REPOSITORY = Path(__file__).resolve().parents[1]


class DemoFailed(Exception):
    """The demo cannot go on; the text says why, and where more is written."""


@contextmanager
def running_server(data_dir: Path, log: Path) -> Iterator[str]:
    """Start the server, wait until it is ready, answer with its address, and stop it at the end."""
    bind = os.environ.get("GUILDHALL_BIND") or f"127.0.0.1:{_free_port()}"
    environment = {**os.environ, "GUILDHALL_DATA_DIR": str(data_dir), "GUILDHALL_BIND": bind}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "guildhall", "all"],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://{bind}"
        _wait_until_ready(process, url, log)
        yield url
    except Unreachable as error:
        if process.poll() is None:
            raise
        message = f"the server died (more in {log}); run the demo again, it takes up what is there"
        raise DemoFailed(message) from error
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def bootstrap_token(data_dir: Path) -> str:
    """Make the first administrator, or a new token for the one that is there, and answer with the token."""
    target = data_dir / "demo-administrator-token"
    if target.exists():
        return target.read_text(encoding="ascii").strip()
    command = [
        sys.executable,
        "-m",
        "guildhall",
        "bootstrap",
        "--email",
        "pat@guildhall.example",
        "--name",
        "Pat Platform",
    ]
    environment = {**os.environ, "GUILDHALL_DATA_DIR": str(data_dir)}
    made = subprocess.run(
        [*command, "--token-file", str(target)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise DemoFailed(f"the first administrator could not be made: {made.stderr.strip()}")
    return target.read_text(encoding="ascii").strip()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < ends_at:
        if process.poll() is not None:
            raise DemoFailed(f"the server ended at its start: {_last_line(log)} (more in {log})")
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise DemoFailed(f"the server was not ready within {START_SECONDS_MAX} seconds (more in {log})")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
