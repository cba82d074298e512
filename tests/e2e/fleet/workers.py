"""Workers that are started and killed at will."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.faults.processes import REPOSITORY, STOP_SECONDS_MAX, Site

PROGRAM = Path(__file__).with_name("forking.py")


@dataclass
class Workers:
    """Those that live now, the eldest first."""

    program: "subprocess.Popen[str]"
    pids: list[int] = field(default_factory=list)

    def start(self) -> None:
        """One more."""
        self.pids.append(self._ordered("work"))

    def replace_eldest(self) -> None:
        """Kill -9 the one that has lived longest, and start another."""
        assert self._ordered(f"kill {self.pids.pop(0)}") == -signal.SIGKILL, "a worker had ended by itself"
        self.start()

    def _ordered(self, order: str) -> int:
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(f"{order}\n")
        self.program.stdin.flush()
        return int(self.program.stdout.readline())


@contextmanager
def working(site: Site, count: int) -> Iterator[Workers]:
    """So many workers on this installation; those that live at the end of the block end in order."""
    with site.log.open("ab") as log:
        program = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            cwd=REPOSITORY,
            env={**site.environment, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    with program:
        workers = Workers(program)
        try:
            for _ in range(count):
                workers.start()
            yield workers
        finally:
            assert program.stdin is not None
            program.stdin.close()
            ended = program.wait(STOP_SECONDS_MAX)
        assert ended == 0
