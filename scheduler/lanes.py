"""A lane for each cluster: what is asked of one runs there, so that a slow one delays nobody else.

A step of the cycle sends its visits into their lanes and waits for them with patience, not for ever. A visit that takes
longer goes on by itself; until it is over its lane takes no other, and the steps go on without that cluster.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence

Visit = Callable[[], Coroutine[None, None, None]]


async def one_by_one(visits: Sequence[Visit]) -> None:
    """Several visits as one."""
    for visit in visits:
        await visit()


class Lanes:
    """The lanes of one worker."""

    def __init__(self) -> None:
        self._visits: dict[Hashable, asyncio.Task[None]] = {}

    def busy(self) -> int:
        """How many visits are under way."""
        return sum(not task.done() for task in self._visits.values())

    async def visit(self, visits: Mapping[Hashable, Visit], *, patience_seconds: float) -> None:
        """Send each into its lane unless that is busy, and wait so long; raises what one of the lanes has raised."""
        for lane, visit in visits.items():
            running = self._visits.get(lane)
            if running is None or running.done():
                self._reap(lane)
                self._visits[lane] = asyncio.create_task(visit(), name=f"visit of {lane}")
        waited_for = [self._visits[lane] for lane in visits]
        if waited_for:
            await asyncio.wait(waited_for, timeout=patience_seconds)
        for lane in [lane for lane, task in self._visits.items() if task.done()]:
            self._reap(lane)

    async def close(self) -> None:
        """End what is still under way, as the end of the process would."""
        tasks = list(self._visits.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._visits.clear()

    def _reap(self, lane: Hashable) -> None:
        task = self._visits.pop(lane, None)
        if task is not None:
            task.result()
