"""Workers that are started and killed at will."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.faults.orders import OrderTaker, taking_orders
from tests.e2e.faults.processes import Site

PROGRAM = Path(__file__).with_name("forking.py")


@dataclass
class Workers:
    """Those that live now, the eldest first."""

    program: OrderTaker
    pids: list[int] = field(default_factory=list)

    def start(self) -> None:
        """One more."""
        self.pids.append(self.program.order("work"))

    def replace_eldest(self) -> None:
        """Kill -9 the one that has lived longest, and start another."""
        assert self.program.order(f"kill {self.pids.pop(0)}") == -signal.SIGKILL, "a worker had ended by itself"
        self.start()


@contextmanager
def working(site: Site, count: int) -> Iterator[Workers]:
    """So many workers on this installation; those that live at the end of the block end in order."""
    with taking_orders(site, PROGRAM) as program:
        workers = Workers(program)
        for _ in range(count):
            workers.start()
        yield workers
