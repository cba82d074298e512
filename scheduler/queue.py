"""What waits: the jobs in the queue, in the order in which they go."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from guildhall.db.transaction import ReadSession
from marketplace.tables import Quote
from scheduler.clusters.executor import Reason
from scheduler.job_access import ACCESS_ENDED, refusal_of_job
from scheduler.jobs.states import JobState
from scheduler.jobs.tables import Job
from scheduler.plan import WaitingJob

WAITING_JOBS_MAX = 2_000
"""Jobs that one cycle looks at; those behind them keep the reason that they have."""


async def read_waiting(session: ReadSession, *, at: datetime, grace_seconds: int) -> tuple[WaitingJob, ...]:
    """The queue: strategic class A first, then first come.

    Access is asked about where it was missing before, because a job without it keeps nobody else waiting; of all others
    it is asked at their admission.
    """
    statement = (
        select(Job, Quote.eligible_pool_ids)
        .join(Quote, Quote.id == Job.quote_id)
        .where(Job.state == JobState.QUEUED, Job.stop_code.is_(None), Job.start_by > at)
        .order_by(Job.strategic_class, Job.created_at, Job.id)
        .limit(WAITING_JOBS_MAX)
    )
    rows: Sequence[tuple[Job, list]] = (await session.execute(statement)).all()  # type: ignore[type-arg]
    waiting = []
    for job, pool_ids in rows:
        refused: Reason | None = None
        if job.state_code == ACCESS_ENDED:
            refusal = await refusal_of_job(session, job, at=at)
            refused = None if refusal is None else Reason(ACCESS_ENDED, refusal.message)
        waiting.append(
            WaitingJob(
                job_id=job.id,
                job_name=job.name,
                slots=job.slots,
                nodes=job.spec["nodes"],
                seconds=job.walltime_seconds + grace_seconds,
                start_by=job.start_by,
                pool_ids=tuple(pool_ids),
                strategic_class=job.strategic_class,
                refused=refused,
            )
        )
    return tuple(waiting)
