"""The program, started as people start it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def environment(folder: Path, port: int, **more: str) -> dict[str, str]:
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GUILDHALL_DATA_DIR": str(folder),
        "GUILDHALL_BIND": f"127.0.0.1:{port}",
        **measured,
        **more,
    }


@contextmanager
def started(command: str, settings: dict[str, str], *more: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "guildhall", command, *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=settings,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def announced(process: "subprocess.Popen[str]") -> str:
    """The address that the server tells, or all that it said instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        pytest.fail(process.communicate()[1])
    return line.split()[3]


def stopped(process: "subprocess.Popen[str]", sign: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(sign)
    _, errors = process.communicate(timeout=180)
    assert "Traceback" not in errors, errors
    return process.returncode
