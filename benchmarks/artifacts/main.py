"""`make bench-artifacts`: one large file and many small ones, up and down through the client, beside a bare copy."""

import argparse
import asyncio
import json
import os
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.artifacts.transfer import TOKEN_VARIABLE
from benchmarks.installation import installed
from benchmarks.processes import ROOT, python
from benchmarks.report import Figure, at_least, at_most, plain, report
from tests.e2e.faults.house import House

LARGE_WANTED = 0.5
SMALL_WANTED = 0.2
FLAT_WANTED = 1.25
"""The memory that a file takes, of what one of an eighth of its size takes."""
SAMPLE_SECONDS = 0.05
RANDOM_BYTES = 1 << 20
MIB = 1 << 20


@dataclass(frozen=True)
class Moved:
    """One transfer."""

    seconds: float
    client_mib: float
    server_mib: float
    answer: Any


@dataclass(frozen=True)
class Bench:
    """A server, and folders that are emptied between transfers."""

    house: House
    folder: Path
    server: psutil.Process

    async def compared(self, name: str, source: Path, rounds: int, wanted: float) -> tuple[list[Figure], Moved, Moved]:
        """Copy, upload and download take turns; the last upload and download are answered beside the figures."""
        size = sum(path.stat().st_size for path in source.iterdir())
        seconds: dict[str, list[float]] = {"copy": [], "upload": [], "download": []}
        up = down = Moved(0, 0, 0, None)
        for number in range(rounds):
            target = self.folder / f"target-{number}"
            seconds["copy"].append((await self._moved("copy", str(source), str(target))).seconds)
            shutil.rmtree(target)
            _rewrite_first(source, number)  # bytes that are stored already would not be stored again
            url, model = self.house.site.url, self.house.ids["model"]
            up = await self._moved("upload", url, model, str(source))
            seconds["upload"].append(up.seconds)
            down = await self._moved("download", url, up.answer, str(target))
            seconds["download"].append(down.seconds)
            await asyncio.to_thread(_require_same, source, target)
            shutil.rmtree(target)
        rates = {what: size / MIB / statistics.median(took) for what, took in seconds.items()}
        return (
            [
                at_least(f"upload of {name}, MiB/s, bare copy with hashing", rates["upload"], rates["copy"], wanted),
                at_least(
                    f"download of {name}, MiB/s, bare copy with hashing", rates["download"], rates["copy"], wanted
                ),
            ],
            up,
            down,
        )

    async def _moved(self, *arguments: str) -> Moved:
        process = await asyncio.create_subprocess_exec(
            *python("-m", "benchmarks.artifacts.transfer", *arguments),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), TOKEN_VARIABLE: self.house.tokens["ada"]},
            stdout=asyncio.subprocess.PIPE,
        )
        before = most = _resident_mib(self.server)
        ending = asyncio.create_task(process.communicate())
        while not ending.done():
            await asyncio.wait({ending}, timeout=SAMPLE_SECONDS)
            most = max(most, _resident_mib(self.server))
        output, _ = await ending
        assert process.returncode == 0, f"{arguments[0]} ended with {process.returncode}"
        told = json.loads(output)
        return Moved(told["seconds"], told["grown_mib"], most - before, told["answer"])


def _resident_mib(process: psutil.Process) -> float:
    found = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            found += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return found / MIB


def _require_same(source: Path, target: Path) -> None:
    """Nothing is timed that did not arrive."""
    names = sorted(path.name for path in source.iterdir())
    assert names == sorted(path.name for path in target.iterdir())
    for name in names[:3]:
        with (source / name).open("rb") as one, (target / name).open("rb") as other:
            while (chunk := one.read(MIB)) or other.read(1):
                assert chunk == other.read(MIB), f"{name} came back changed"


def _make(folder: Path, count: int, size_bytes: int) -> Path:
    folder.mkdir()
    for number in range(count):
        with (folder / f"file-{number:05}.bin").open("wb") as opened:
            for _ in range(size_bytes // RANDOM_BYTES):
                opened.write(os.urandom(RANDOM_BYTES))
            opened.write(os.urandom(size_bytes % RANDOM_BYTES))
    return folder


def _rewrite_first(folder: Path, number: int) -> None:
    """Change each file's first bytes, so that its digest is new."""
    for path in folder.iterdir():
        with path.open("r+b") as opened:
            opened.write(number.to_bytes(4) + os.urandom(12))


async def _measure(house: House, server: psutil.Process, folder: Path, given: argparse.Namespace) -> list[Figure]:
    bench = Bench(house, folder, server)
    large_bytes = int(given.mib * MIB)
    small = _make(folder / "small", given.files, given.kib * 1024)
    figures, small_up, small_down = await bench.compared(
        f"{given.files:,} files of {given.kib} KiB", small, given.rounds, SMALL_WANTED
    )
    eighth = _make(folder / "eighth", 1, large_bytes // 8)
    _, lesser_up, lesser_down = await bench.compared("an eighth", eighth, 1, 0)
    large = _make(folder / "large", 1, large_bytes)
    more, large_up, large_down = await bench.compared(f"a file of {given.mib:g} MiB", large, given.rounds, LARGE_WANTED)
    shutil.rmtree(large)
    figures = [*more, *figures]
    for what, lesser, greater in (("upload", lesser_up, large_up), ("download", lesser_down, large_down)):
        for who in ("client", "server"):
            grown, peer = (max(1.0, getattr(each, f"{who}_mib")) for each in (greater, lesser))
            figures.append(
                at_most(f"{who}'s memory, {what} of it, MiB, that of an eighth", grown, max(peer, 32), FLAT_WANTED)
            )
    for what, moved in (("upload", small_up), ("download", small_down)):
        figures += [
            plain(f"{who}'s memory, {what} of the small ones, MiB", getattr(moved, f"{who}_mib"))
            for who in ("client", "server")
        ]
    return figures


async def main(arguments: Sequence[str] | None = None) -> bool:
    """An installation of its own in a temporary folder, compared and reported; whether all that is wanted holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=float, default=1024, help="the large file")
    parser.add_argument("--files", type=int, default=2_000, help="how many small ones")
    parser.add_argument("--kib", type=int, default=16, help="each of them")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    async with installed("artifacts") as made:
        figures = await _measure(made.house, psutil.Process(made.api_pid), made.folder, given)
    return report("artifacts", figures, notes=[f"{given.rounds} rounds; server, client and copy on one disk"])


if __name__ == "__main__":
    asyncio.run(main())
