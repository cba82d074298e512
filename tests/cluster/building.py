"""Go commands that may take minutes: they give signs of life, and say in one line what went wrong."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster.unavailable import ClusterUnavailable

FLAGS = ("-trimpath", "-buildvcs=false")
_SECONDS_BETWEEN_NEWS = 20


def go(module: Path, arguments: Sequence[str], say: Callable[[str], None]) -> str:
    """One go command in the folder of a module, and what it said; raises ClusterUnavailable, also without Go."""
    if shutil.which("go") is None:
        raise ClusterUnavailable(
            f"`go` is not on PATH; what {module.name} needs is built from Go modules (see its go.mod)"
        )
    began = told = time.monotonic()
    said: str | None = None
    with subprocess.Popen(
        ["nice", "go", *arguments],
        cwd=module,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            while said is None:
                try:
                    said, _ = process.communicate(timeout=1)
                except subprocess.TimeoutExpired:
                    if time.monotonic() - told >= _SECONDS_BETWEEN_NEWS:
                        told = time.monotonic()
                        say(f"  go {arguments[0]} in {module.name}: {told - began:.0f} s")
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        last = (said.strip().splitlines() or ["no word"])[-1]
        raise ClusterUnavailable(f"go {arguments[0]} failed in {module}: {last}")
    return said


def _environment() -> Mapping[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
