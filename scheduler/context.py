"""What the steps of the cycle share: one worker's database, clock, ids, clusters and identity."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from guildhall.auth.actor import Actor, system_actor
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database
from guildhall.settings import Settings
from scheduler.clusters.executor import ClusterAway, ClusterRefuses, Executor, LaunchConflict, LaunchRefused
from scheduler.lanes import Lanes, Visit

Answer = TypeVar("Answer")

ANSWERS = (ClusterAway, ClusterRefuses, LaunchRefused, LaunchConflict)
"""What an executor raises to say something; all else that it raises is a fault."""

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
    lanes: Lanes = field(default_factory=Lanes)

    def executor(self, cluster_name: str, cluster_kind: str) -> Executor | None:
        """The executor of a cluster; None where this worker serves other clusters."""
        return self.executors.get(cluster_name) or self.executors.get(cluster_kind.lower())

    def lease_until(self) -> datetime:
        """When a lease taken now ends unless renewed."""
        return self.clock.now() + timedelta(seconds=self.settings.worker_lease_seconds)

    async def ask(self, question: Awaitable[Answer]) -> Answer:
        """A cluster's answer. One that takes longer than `cluster_answer_seconds`, or fails as none should, is away."""
        seconds = self.settings.cluster_answer_seconds
        try:
            return await asyncio.wait_for(question, seconds)
        except ANSWERS:
            raise
        except TimeoutError as error:
            raise ClusterAway(f"it did not answer within {seconds} seconds") from error
        except Exception as error:
            raise ClusterAway(f"{type(error).__name__}: {error}") from error

    async def visit(self, visits: Mapping[Hashable, Visit]) -> None:
        """Do these side by side, each in its lane, and wait for none of them longer than the worker's patience."""
        await self.lanes.visit(visits, patience_seconds=self.settings.worker_patience_milliseconds / 1_000)
