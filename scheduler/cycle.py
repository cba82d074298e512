"""The scheduler's cycle: one function whose numbered steps are its documentation."""

from scheduler.access_ending import act_on_ended_access
from scheduler.apply import apply_plan
from scheduler.capacity import read_pools
from scheduler.context import SchedulerContext
from scheduler.expiry import expire_allocations, expire_unstarted
from scheduler.launching import give_up_launches, launch_admitted
from scheduler.plan import Snapshot, plan
from scheduler.queue import read_waiting
from scheduler.reconcile import observe_clusters
from scheduler.removal import remove_settled
from scheduler.settlement import settle_ended
from scheduler.stopping import stop_attempts, stop_overdue, stop_unstarted


async def run_cycle(context: SchedulerContext) -> None:
    """Bring everything one step on. Any number of workers may do so at once, and each may die anywhere in it.

    The order makes room before it is given out: what has ended frees its accelerators in the same cycle.
    """
    # 1. Observe: what the clusters say becomes states and intervals; accelerators of what has ended are free.
    await observe_clusters(context)
    # 2. Stop what is over its walltime, was not started in time, was cancelled, may not read on, or was not launched.
    await give_up_launches(context)
    await act_on_ended_access(context)
    await stop_overdue(context)
    await stop_unstarted(context)
    await stop_attempts(context)
    # 3. Settle what has ended: its last state and its money, in one transaction.
    await settle_ended(context)
    # 4. Let the clusters forget what is settled.
    await remove_settled(context)
    # 5. Expire what was not started by its latest start, and allocations whose time is over.
    await expire_unstarted(context)
    await expire_allocations(context)
    # 6. Read the queue and the capacity, in one snapshot.
    snapshot = await read_snapshot(context)
    # 7. Plan: a pure function.
    decisions = plan(snapshot)
    # 8. Apply: admit who may start, tell everyone else why not and until when.
    await apply_plan(context, decisions)
    # 9. Launch what is admitted, from the outbox.
    await launch_admitted(context)


async def read_snapshot(context: SchedulerContext) -> Snapshot:
    """What waits and what is used, at this moment."""
    at = context.clock.now()
    grace = context.settings.runner_grace_seconds
    async with context.database.read() as session:
        return Snapshot(
            at=at,
            pools=await read_pools(session, at=at, grace_seconds=grace),
            waiting=await read_waiting(session, at=at, grace_seconds=grace),
        )
