"""What should happen to each waiting job now: a pure function on a snapshot.

Jobs are placed in their order, each at the earliest moment and pool where its accelerators are free for all of its
walltime, counting what runs (until its walltime ends) and what was placed before it. Who is placed at this moment is
admitted; everyone else waits until the moment that was found. So a small job may go past a big one only where it ends
before the big one could start: nobody starves behind later jobs.
"""

import bisect
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from scheduler.clusters.executor import Reason

PLACED_JOBS_MAX = 500
"""Jobs that one plan places; those behind them wait without a predicted start."""

_MORE = "; that is after its latest start, so that it may expire"


@dataclass(frozen=True, kw_only=True)
class Occupant:
    """A job that has accelerators until `ends_at` at the latest."""

    job_id: UUID
    job_name: str
    slots: int
    ends_at: datetime


@dataclass(frozen=True, kw_only=True)
class PoolState:
    """One pool at the moment of the snapshot."""

    id: UUID
    name: str
    slots: int
    occupants: tuple[Occupant, ...] = ()

    @property
    def free(self) -> int:
        """Accelerators that nobody has; none where a pool has shrunk below what runs on it."""
        return max(0, self.slots - sum(occupant.slots for occupant in self.occupants))


@dataclass(frozen=True, kw_only=True)
class WaitingJob:
    """A job in the queue. `seconds` is all the time it may keep its accelerators; pools come in order of preference.

    `refused` is why it may not start whatever is free, as when its access has ended.
    """

    job_id: UUID
    job_name: str
    slots: int
    seconds: int
    start_by: datetime
    pool_ids: tuple[UUID, ...]
    strategic_class: str = "D"
    refused: Reason | None = None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the plan knows. `waiting` stands in the order in which jobs go."""

    at: datetime
    pools: tuple[PoolState, ...]
    waiting: tuple[WaitingJob, ...]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """For one waiting job: admitted at the snapshot's moment, or waiting, with its predicted start where known."""

    job_id: UUID
    admitted: bool
    pool_id: UUID | None
    starts_at: datetime | None
    reason: Reason


def plan(snapshot: Snapshot) -> list[Decision]:
    """One decision for each waiting job, in their order."""
    timelines = {pool.id: _Timeline(snapshot.at, pool) for pool in snapshot.pools}
    decisions = []
    placed = 0
    for job in snapshot.waiting:
        if job.refused is not None:
            decisions.append(_waits(job, job.refused))
        elif placed == PLACED_JOBS_MAX:
            decisions.append(_waits(job, Reason("WAITING_IN_QUEUE", f"waits behind {placed} other jobs")))
        else:
            placed += 1
            decisions.append(_place(job, timelines, snapshot.at))
    return decisions


class _Timeline:
    """How many accelerators of one pool are free from each moment on: a step function, the last step without end."""

    def __init__(self, at: datetime, pool: PoolState) -> None:
        self.pool = pool
        self.free_now = pool.free
        self.at = at
        self.occupants = list(pool.occupants)
        self.kept_for: str | None = None
        self._times = [at]
        self._free = [pool.slots]
        for occupant in pool.occupants:
            # What should have ended keeps its accelerators until the platform says otherwise: for the plan, a moment.
            self._take(at, max(occupant.ends_at, at + timedelta(seconds=1)), occupant.slots)

    def earliest(self, slots: int, seconds: int) -> datetime | None:
        """The first moment from which so many are free for so long; None where there are never so many."""
        start: datetime | None = None
        for time, free in zip(self._times, self._free, strict=True):
            if start is not None and time >= start + timedelta(seconds=seconds):
                break
            if free < slots:
                start = None
            elif start is None:
                start = time
        return start

    def place(self, job: WaitingJob, starts_at: datetime) -> None:
        ends_at = starts_at + timedelta(seconds=job.seconds)
        self._take(starts_at, ends_at, job.slots)
        self.occupants.append(Occupant(job_id=job.job_id, job_name=job.job_name, slots=job.slots, ends_at=ends_at))
        if starts_at == self.at:
            self.free_now -= job.slots
        else:
            self.kept_for = self.kept_for or job.job_name

    def last_to_end(self, starts_at: datetime) -> Occupant | None:
        """Whose end the moment is waiting for."""
        ended = [occupant for occupant in self.occupants if occupant.ends_at <= starts_at]
        return max(ended, key=lambda occupant: occupant.ends_at, default=None)

    def _take(self, start: datetime, end: datetime, slots: int) -> None:
        first, last = self._step(start), self._step(end)
        for index in range(first, last):
            self._free[index] -= slots

    def _step(self, time: datetime) -> int:
        index = bisect.bisect_left(self._times, time)
        if index == len(self._times) or self._times[index] != time:
            self._times.insert(index, time)
            self._free.insert(index, self._free[index - 1])
        return index


def _place(job: WaitingJob, timelines: dict[UUID, _Timeline], at: datetime) -> Decision:
    possible = [
        (start, preference, timeline)
        for preference, timeline in enumerate(timelines[pool_id] for pool_id in job.pool_ids if pool_id in timelines)
        if (start := timeline.earliest(job.slots, job.seconds)) is not None
    ]
    if not possible:
        return _waits(job, Reason("POOL_TOO_SMALL", f"none of its pools has {accelerators(job.slots)} any more"))
    starts_at, _, timeline = min(possible, key=lambda entry: entry[:2])
    reason = _admitted(job, timeline) if starts_at == at else _waiting(job, timeline, starts_at)
    timeline.place(job, starts_at)
    return Decision(
        job_id=job.job_id,
        admitted=starts_at == at,
        pool_id=timeline.pool.id,
        starts_at=starts_at,
        reason=reason,
    )


def _waits(job: WaitingJob, reason: Reason) -> Decision:
    return Decision(job_id=job.job_id, admitted=False, pool_id=None, starts_at=None, reason=reason)


def _admitted(job: WaitingJob, timeline: _Timeline) -> Reason:
    return Reason("ADMITTED", f"has {accelerators(job.slots)} of pool {timeline.pool.name}")


def _waiting(job: WaitingJob, timeline: _Timeline, starts_at: datetime) -> Reason:
    late = _MORE if starts_at > job.start_by else ""
    missing = job.slots - timeline.free_now
    until = f"until about {moment_text(starts_at, timeline.at)}"
    if missing <= 0:
        free = f"{accelerators(timeline.free_now)} of pool {timeline.pool.name} {_be(timeline.free_now)} free"
        message = f"{free} but kept for job {timeline.kept_for}, which goes first; {until}"
        return Reason("WAITING_FOR_TURN", message + late)
    occupant = timeline.last_to_end(starts_at)
    assert occupant is not None, "somebody has what is missing"
    message = (
        f"waits for {missing} of {accelerators(job.slots)} of pool {timeline.pool.name} {until}, "
        f"when job {occupant.job_name} ends at the latest"
    )
    return Reason("WAITING_FOR_CAPACITY", message + late)


def accelerators(count: int) -> str:
    """The number with its noun."""
    return f"{count} accelerator" if count == 1 else f"{count} accelerators"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def moment_text(moment: datetime, at: datetime) -> str:
    """A moment for people, rounded up to the minute so that it promises nothing too early; its day unless today."""
    rounded = (moment + timedelta(seconds=59)).replace(second=0, microsecond=0)
    return f"{rounded:%H:%M} UTC" if rounded.date() == at.date() else f"{rounded:%Y-%m-%d %H:%M} UTC"
