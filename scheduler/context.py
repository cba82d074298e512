"""What the steps of the cycle share: one worker's database, clock, ids, clusters and identity."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from guildhall.auth.actor import Actor, system_actor
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database
from guildhall.settings import Settings
from scheduler.clusters.executor import Executor

FAULT_POINTS = (
    "admit.committed",
    "launch.claimed",
    "launch.token-issued",
    "launch.launched",
    "launch.recorded",
    "observe.leased",
    "observe.observed",
    "observe.recorded",
    "overdue.recorded",
    "stop.leased",
    "stop.asked",
    "stop.recorded",
    "settle.charged",
    "settle.committed",
    "remove.leased",
    "remove.removed",
    "remove.recorded",
    "expire.committed",
)
"""Where a worker may die: between any two writes. Tests stop it at each, and count that each was reached."""


def pass_by(point: str) -> None:
    """What a worker outside tests does at a fault point: nothing."""
    assert point in FAULT_POINTS, f"{point} is no fault point"


@dataclass(frozen=True, kw_only=True)
class SchedulerContext:
    """One worker. `executors` are found by the cluster's name, or by its kind in lower case; `owner` names its leases.

    `reach` is called at each of FAULT_POINTS; what it raises ends the worker there, as a kill would.
    """

    database: Database
    settings: Settings
    clock: Clock
    new_id: IdSource
    executors: Mapping[str, Executor]
    owner: str
    reach: Callable[[str], None] = pass_by
    actor: Actor = field(default_factory=lambda: system_actor("scheduler"))

    def executor(self, cluster_name: str, cluster_kind: str) -> Executor | None:
        """The executor of a cluster; None where this worker serves other clusters."""
        return self.executors.get(cluster_name) or self.executors.get(cluster_kind.lower())

    def lease_until(self) -> datetime:
        """When a lease taken now ends unless renewed."""
        return self.clock.now() + timedelta(seconds=self.settings.worker_lease_seconds)
