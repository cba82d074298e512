"""When a job would start if it were accepted now: the scheduler's own plan, with the job put into the queue."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from guildhall.db.transaction import ReadSession
from scheduler.capacity import read_pools
from scheduler.jobs.spec import JobSpec
from scheduler.plan import Decision, Snapshot, WaitingJob, plan
from scheduler.queue import read_waiting


async def predict_start(
    session: ReadSession,
    *,
    job_id: UUID,
    spec: JobSpec,
    strategic_class: str,
    pool_ids: tuple[UUID, ...],
    grace_seconds: int,
    at: datetime,
) -> Decision:
    """The plan's decision about the job: its pool and start, or that neither is known. Nothing is written."""
    pools = await read_pools(session, at=at, grace_seconds=grace_seconds)
    waiting = await read_waiting(session, at=at, grace_seconds=grace_seconds)
    job = WaitingJob(
        job_id=job_id,
        job_name=spec.name,
        slots=spec.slots,
        nodes=spec.nodes,
        seconds=spec.walltime_seconds + grace_seconds,
        start_by=spec.start_by,
        pool_ids=pool_ids,
        strategic_class=strategic_class,
    )
    snapshot = Snapshot(at=at, pools=pools, waiting=waiting)
    decisions = plan(replace(snapshot, waiting=enqueued(waiting, job)))
    return next(decision for decision in decisions if decision.job_id == job_id)


def enqueued(waiting: tuple[WaitingJob, ...], job: WaitingJob) -> tuple[WaitingJob, ...]:
    """The queue with the job at the end of its own strategic class."""
    before = [each for each in waiting if each.strategic_class <= job.strategic_class]
    after = [each for each in waiting if each.strategic_class > job.strategic_class]
    return (*before, job, *after)
