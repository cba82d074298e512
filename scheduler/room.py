"""What is free while accelerators are given out: read once, kept up to date with each job that takes some of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from scheduler.capacity import free_slots
from scheduler.clusters.tables import Pool
from scheduler.jobs.tables import Job
from scheduler.plan import Decision, Occupant, PoolState, fit_now


@dataclass(frozen=True)
class Place:
    """What a job gets of a pool: the indexes of its accelerators, and a machine for each of its nodes."""

    pool: Pool
    slots: tuple[int, ...]
    machines: tuple[str, ...]


class Room:
    """The pools of locked clusters; `used` are the slots given out, `states` what runs where."""

    def __init__(
        self,
        pools: Mapping[UUID, Pool],
        used: dict[UUID, set[int]],
        states: dict[UUID, PoolState],
        *,
        grace_seconds: int,
    ) -> None:
        self._pools = pools
        self._used = used
        self._states = states
        self._grace = timedelta(seconds=grace_seconds)

    def take(self, job: Job, decision: Decision, *, at: datetime) -> Place | None:
        """Where the job's nodes go, if they still fit and the cluster still admits: as planned, or beside it."""
        assert decision.pool_id is not None, "who is admitted has a pool"
        pool, state = self._pools[decision.pool_id], self._states[decision.pool_id]
        nodes: int = job.spec["nodes"]
        slots = free_slots(pool.slots, self._used[pool.id], job.slots)
        machines = None if state.closed is not None else fit_now(state, nodes, job.slots // nodes, decision.machines)
        if slots is None or machines is None:
            return None
        self._used[pool.id].update(slots)
        ends_at = at + timedelta(seconds=job.walltime_seconds) + self._grace
        taken = Occupant(job_id=job.id, job_name=job.name, slots=job.slots, ends_at=ends_at, machines=machines)
        for other in self._states.values():
            # Machines may belong to several pools, so that what runs on them is in the way of all of those.
            if other.id == pool.id or machines:
                self._states[other.id] = replace(other, occupants=(*other.occupants, taken))
        return Place(pool, slots, machines)
