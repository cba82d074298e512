"""The load generator: a small Go program, built once into `benchmarks/out`."""

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import OUT

SOURCE = Path(__file__).parent / "load"
CONNECTIONS = 8


class LoadFailed(Exception):
    """Go is missing, or what was measured answered with errors: such numbers mean nothing."""


@dataclass(frozen=True)
class Loaded:
    """What came of one round."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    bytes: float


async def built() -> Path:
    """The program, built where it is missing or older than its source."""
    binary = OUT / "load-generator"
    newest = max(path.stat().st_mtime for path in SOURCE.iterdir())
    if binary.exists() and binary.stat().st_mtime > newest:
        return binary
    go = shutil.which("go")
    if go is None:
        raise LoadFailed("The load generator is a Go program: put Go 1.22 or newer on the PATH.")
    OUT.mkdir(exist_ok=True)
    await _run([go, "build", "-buildvcs=false", "-o", str(binary), "."], cwd=SOURCE)
    return binary


async def drive(
    side: str, port: int, bodies: Sequence[bytes], headers: Mapping[str, str], *, seconds: float = 3, requests: int = 0
) -> Loaded:
    """Send a side the bodies in turn over eight connections, for some seconds or so many times. Raises LoadFailed."""
    binary = await built()
    path = OUT / f"bodies-{port}.jsonl"
    path.write_bytes(b"\n".join(bodies))
    lines = "|".join(f"{name}: {value}" for name, value in headers.items())
    arguments = ["-address", f"127.0.0.1:{port}", "-bodies", str(path), "-connections", str(CONNECTIONS)]
    told = ["-headers", lines, "-seconds", str(seconds), "-requests", str(requests)]
    try:
        found = json.loads(await _run([str(binary), *arguments, *told]))
    except LoadFailed as failed:
        raise LoadFailed(f"{side}: {failed}") from failed
    finally:
        path.unlink()
    if found["refused"]:
        answers = "\n  ".join(found["first"])
        raise LoadFailed(
            f"{side}: {found['refused']} of {found['requests']} requests failed; the first answers:\n  {answers}"
        )
    rate = found["requests"] / found["seconds"]
    return Loaded(found["requests"], rate, found["p50_ms"], found["p99_ms"], found["bytes"])


async def _run(command: Sequence[str], *, cwd: Path | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise LoadFailed(f"{command[0]} ended with {process.returncode}: {errors.decode()[-2000:]}")
    return output.decode()
