"""A program that stands ready beside an installation and takes orders: a line on its stdin, a number as its answer."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.faults.processes import REPOSITORY, STOP_SECONDS_MAX, Site


@dataclass(frozen=True)
class OrderTaker:
    """One program, an order after the other."""

    process: "subprocess.Popen[str]"

    @property
    def pid(self) -> int:
        """Of the program itself."""
        return self.process.pid

    def order(self, text: str) -> int:
        """What it answers when the order is carried out."""
        self.send(text)
        return self.answer()

    def send(self, text: str) -> None:
        """Only say it: the answer is waited for later."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def answer(self) -> int:
        """That of the order that was sent last."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@contextmanager
def taking_orders(site: Site, program: Path) -> Iterator[OrderTaker]:
    """The program on this installation, until the end of the block; it ends in order when there are no more orders."""
    with site.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(program)],
            cwd=REPOSITORY,
            env={**site.environment, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            yield OrderTaker(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            ended = process.wait(STOP_SECONDS_MAX)
        assert ended == 0
