"""What should happen to each waiting job now: a pure function on a snapshot.

Jobs are placed in their order, each at the earliest moment and pool where its accelerators are free for all of its
walltime, counting what runs (until its walltime ends) and what was placed before it. Who is placed at this moment is
admitted; everyone else waits until the moment that was found. So a small job may go past a big one only where it ends
before the big one could start: nobody starves behind later jobs.

Accelerators belong to machines: each node of a job needs all of its accelerators on one machine, so that a sum that
would do is not enough. Of the machines that could take a node the fullest does.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from scheduler.clusters.executor import Reason

PLACED_JOBS_MAX = 500
"""Jobs that one plan places; those behind them wait without a predicted start."""

_TICK = timedelta(microseconds=1)
_MORE = "; that is after its latest start, so that it may expire"


@dataclass(frozen=True, kw_only=True)
class Occupant:
    """A job that has accelerators until `ends_at` at the latest; `machines` names the machine of each of its nodes."""

    job_id: UUID
    job_name: str
    slots: int
    ends_at: datetime
    machines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """One machine of a pool: the accelerators that its occupants and jobs yet to come may have of it in all."""

    name: str
    slots: int


@dataclass(frozen=True, kw_only=True)
class PoolState:
    """One pool at the moment of the snapshot. Without `machines` it is one machine. `closed`: why it admits nobody."""

    id: UUID
    name: str
    slots: int
    machines: tuple[MachineState, ...] = ()
    occupants: tuple[Occupant, ...] = ()
    closed: Reason | None = None

    @property
    def free(self) -> int:
        """Accelerators that nobody has; none where a pool has shrunk below what runs on it."""
        return max(0, self.slots - sum(occupant.slots for occupant in self.occupants))


@dataclass(frozen=True, kw_only=True)
class WaitingJob:
    """A job in the queue. `seconds` is all the time it may keep its accelerators; pools come in order of preference.

    `slots` are the accelerators of all its `nodes`.

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
    nodes: int = 1

    @property
    def slots_per_node(self) -> int:
        """What each node needs on one machine."""
        return self.slots // self.nodes


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the plan knows. `waiting` stands in the order in which jobs go."""

    at: datetime
    pools: tuple[PoolState, ...]
    waiting: tuple[WaitingJob, ...]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """For one waiting job: admitted at the snapshot's moment, or waiting, with its predicted start where known.

    `machines` are those that the plan counted on, one for each node; none in a pool without machines.
    """

    job_id: UUID
    admitted: bool
    pool_id: UUID | None
    starts_at: datetime | None
    reason: Reason
    machines: tuple[str, ...] = ()


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


def fit_now(pool: PoolState, nodes: int, slots_per_node: int, wanted: Sequence[str]) -> tuple[str, ...] | None:
    """The machines on which so many nodes have room at this moment, those `wanted` first; None: there is no room."""
    free = _free_now(pool)
    chosen: list[str] = []
    order = [*dict.fromkeys(wanted), *sorted(free, key=lambda name: (free[name], name))]
    for name in order:
        while len(chosen) < nodes and free.get(name, 0) >= slots_per_node:
            free[name] -= slots_per_node
            chosen.append(name)
    if len(chosen) < nodes:
        return None
    return tuple(chosen) if pool.machines else ()


def _machines_of(pool: PoolState) -> tuple[MachineState, ...]:
    return pool.machines or (MachineState(name=pool.name, slots=pool.slots),)


def _shares(pool: PoolState, occupant: Occupant) -> Iterator[tuple[str, int]]:
    """Each machine that the occupant has, with its accelerators of it."""
    places = occupant.machines or (_machines_of(pool)[0].name,)
    for name in places:
        yield name, occupant.slots // len(places)


def _free_now(pool: PoolState) -> dict[str, int]:
    free = {machine.name: machine.slots for machine in _machines_of(pool)}
    for occupant in pool.occupants:
        for name, slots in _shares(pool, occupant):
            if name in free:
                free[name] -= slots
    return free


class _MachineTimeline:
    """How many accelerators of one machine are free from each moment on: a step function, the last without end."""

    def __init__(self, at: datetime, slots: int) -> None:
        self._times = [at]
        self._free = [slots]
        self._openings: dict[tuple[int, int], list[tuple[datetime, int]]] = {}

    def openings(self, slots: int, seconds: int) -> list[tuple[datetime, int]]:
        """From which moment on how many times so many are free for so long: the changes, in their order."""
        known = self._openings.get((slots, seconds))
        if known is None:
            known = self._openings[slots, seconds] = list(self._find_openings(slots, timedelta(seconds=seconds)))
        return known

    def room(self, start: datetime, seconds: int) -> int:
        """The fewest that are free at any moment of so long a time."""
        first = bisect.bisect_right(self._times, start) - 1
        last = bisect.bisect_left(self._times, start + timedelta(seconds=seconds))
        return min(self._free[first : max(last, first + 1)])

    def take(self, start: datetime, end: datetime, slots: int) -> None:
        first, last = self._step(start), self._step(end)
        for index in range(first, last):
            self._free[index] -= slots
        self._openings.clear()

    def _find_openings(self, slots: int, length: timedelta) -> Iterator[tuple[datetime, int]]:
        begin = self._times[0]
        just_too_late = (time - length + _TICK for time in self._times)
        moments = sorted({*self._times, *(time for time in just_too_late if time > begin)})
        before = 0
        for moment in moments:
            fitting = max(0, self.room(moment, int(length.total_seconds())) // slots)
            if fitting != before:
                yield moment, fitting
            before = fitting

    def _step(self, time: datetime) -> int:
        index = bisect.bisect_left(self._times, time)
        if index == len(self._times) or self._times[index] != time:
            self._times.insert(index, time)
            self._free.insert(index, self._free[index - 1])
        return index


class _Timeline:
    """What is free of one pool from each moment on, machine by machine."""

    def __init__(self, at: datetime, pool: PoolState) -> None:
        self.pool = pool
        self.at = at
        self.occupants = list(pool.occupants)
        self.kept_for: str | None = None
        self.free_by_machine = _free_now(pool)
        self._machines = {machine.name: _MachineTimeline(at, machine.slots) for machine in _machines_of(pool)}
        for occupant in pool.occupants:
            # What should have ended keeps its accelerators until the platform says otherwise: for the plan, a moment.
            end = max(occupant.ends_at, at + timedelta(seconds=1))
            for name, slots in _shares(pool, occupant):
                if name in self._machines:
                    self._machines[name].take(at, end, slots)

    @property
    def free_now(self) -> int:
        return sum(max(0, free) for free in self.free_by_machine.values())

    def has_room_now(self, job: WaitingJob) -> bool:
        """Whether it would fit if nothing were kept for those before it."""
        return sum(max(0, free) // job.slots_per_node for free in self.free_by_machine.values()) >= job.nodes

    def earliest(self, job: WaitingJob) -> datetime | None:
        """The first moment from which its nodes fit for all of its time; None where they never do."""
        openings = [machine.openings(job.slots_per_node, job.seconds) for machine in self._machines.values()]
        if job.nodes == 1:
            return min((each[0][0] for each in openings if each), default=None)
        changes = []
        for each in openings:
            before = 0
            for moment, fitting in each:
                changes.append((moment, fitting - before))
                before = fitting
        fitting = 0
        changes.sort()
        for index, (moment, change) in enumerate(changes):
            fitting += change
            if fitting >= job.nodes and (index + 1 == len(changes) or changes[index + 1][0] > moment):
                return moment
        return None

    def place(self, job: WaitingJob, starts_at: datetime) -> tuple[str, ...]:
        """Take the place that `earliest` found; the fullest machines first."""
        ends_at = starts_at + timedelta(seconds=job.seconds)
        rooms = sorted((machine.room(starts_at, job.seconds), name) for name, machine in self._machines.items())
        chosen = [name for room, name in rooms for _ in range(room // job.slots_per_node)][: job.nodes]
        assert len(chosen) == job.nodes, "it was placed where it fits"
        for name in chosen:
            self._machines[name].take(starts_at, ends_at, job.slots_per_node)
            if starts_at == self.at:
                self.free_by_machine[name] -= job.slots_per_node
        if starts_at != self.at:
            self.kept_for = self.kept_for or job.job_name
        self.occupants.append(
            Occupant(job_id=job.job_id, job_name=job.job_name, slots=job.slots, ends_at=ends_at, machines=tuple(chosen))
        )
        return tuple(chosen) if self.pool.machines else ()

    def last_to_end(self, starts_at: datetime) -> Occupant | None:
        """Whose end the moment is waiting for."""
        ended = [occupant for occupant in self.occupants if occupant.ends_at <= starts_at]
        return max(ended, key=lambda occupant: occupant.ends_at, default=None)


def _place(job: WaitingJob, timelines: dict[UUID, _Timeline], at: datetime) -> Decision:
    named = [timelines[pool_id] for pool_id in job.pool_ids if pool_id in timelines]
    possible = [
        (start, preference, timeline)
        for preference, timeline in enumerate(timeline for timeline in named if timeline.pool.closed is None)
        if (start := timeline.earliest(job)) is not None
    ]
    if not possible:
        closed = next((timeline.pool.closed for timeline in named if timeline.pool.closed is not None), None)
        return _waits(job, closed or Reason("POOL_TOO_SMALL", _too_small(job)))
    starts_at, _, timeline = min(possible, key=lambda entry: entry[:2])
    reason = _admitted(job, timeline) if starts_at == at else _waiting(job, timeline, starts_at)
    machines = timeline.place(job, starts_at)
    return Decision(
        job_id=job.job_id,
        admitted=starts_at == at,
        pool_id=timeline.pool.id,
        starts_at=starts_at,
        reason=reason,
        machines=machines,
    )


def _too_small(job: WaitingJob) -> str:
    if job.nodes == 1:
        return f"none of its pools has {accelerators(job.slots)} any more"
    return f"none of its pools has {job.nodes} nodes with {accelerators(job.slots_per_node)} each any more"


def _waits(job: WaitingJob, reason: Reason) -> Decision:
    return Decision(job_id=job.job_id, admitted=False, pool_id=None, starts_at=None, reason=reason)


def _admitted(job: WaitingJob, timeline: _Timeline) -> Reason:
    return Reason("ADMITTED", f"has {accelerators(job.slots)} of pool {timeline.pool.name}")


def _waiting(job: WaitingJob, timeline: _Timeline, starts_at: datetime) -> Reason:
    late = _MORE if starts_at > job.start_by else ""
    missing = job.slots - timeline.free_now
    until = f"until about {moment_text(starts_at, timeline.at)}"
    if timeline.has_room_now(job):
        free = f"{accelerators(timeline.free_now)} of pool {timeline.pool.name} {_be(timeline.free_now)} free"
        message = f"{free} but kept for job {timeline.kept_for}, which goes first; {until}"
        return Reason("WAITING_FOR_TURN", message + late)
    occupant = timeline.last_to_end(starts_at)
    assert occupant is not None, "somebody has what is missing"
    ends = f"{until}, when job {occupant.job_name} ends at the latest"
    if missing > 0:
        message = f"waits for {missing} of {accelerators(job.slots)} of pool {timeline.pool.name} {ends}"
    else:
        wanted = f"a machine with {job.slots_per_node}" if job.nodes == 1 else f"{job.nodes} × {job.slots_per_node}"
        message = (
            f"{accelerators(timeline.free_now)} of pool {timeline.pool.name} {_be(timeline.free_now)} free, but not on "
            f"the same machines: waits for {wanted} {ends}"
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
