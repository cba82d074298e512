"""Cancelling a job: at once where it waits, by a stop where it may be running already."""

from datetime import datetime
from uuid import UUID

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from guildhall.errors import Conflict, Invalid
from scheduler.clusters.executor import Reason
from scheduler.expiry import end_unstarted, may_end_unstarted
from scheduler.jobs.lookup import find_job
from scheduler.jobs.moving import move
from scheduler.jobs.outcome import CANCELLED
from scheduler.jobs.states import ENDED_STATES, JobState
from scheduler.jobs.tables import Job
from scheduler.launching import hasten_launch
from scheduler.waking import wake_workers

CANCEL = "scheduler:job:cancel"
REASON_CHARACTERS_MAX = 500


class JobEnded(Conflict):
    """What has ended cannot be cancelled."""

    code = "JOB_ENDED"


class ReasonMissing(Invalid):
    """A job is cancelled for a reason, in words, of bounded length."""

    code = "REASON_MISSING"


async def cancel_job(
    session: WriteSession, actor: Actor, *, job_id: UUID, reason: str, at: datetime, new_id: IdSource
) -> UUID:
    """Cancel the job and return its id; cancelled again, or while it is being stopped, nothing changes.

    A waiting job ends at once and costs nothing, and so does one whose launch nobody has begun. What may run is
    stopped, and pays for its interval when it has ended.
    """
    await find_job(session, actor, job_id, field="jobId")
    (job,) = await lock_rows(session, Job, [job_id])
    require(actor, CANCEL, team_id=job.team_id, resource=ResourceRef("Job", job_id))
    if not 0 < len(reason.strip()) <= REASON_CHARACTERS_MAX or "\0" in reason:
        raise ReasonMissing(f"Say why, in 1 to {REASON_CHARACTERS_MAX} characters.", field="reason")
    if job.state in {JobState.CANCELLED, JobState.STOPPING}:
        return job.id
    if job.state in ENDED_STATES:
        raise JobEnded(f"The job has ended already: it is {job.state}.", field="jobId")
    told = Reason(CANCELLED, f"cancelled by {actor.name}: {reason.strip()}")
    if await may_end_unstarted(session, job):
        await end_unstarted(session, actor, job, JobState.CANCELLED, told, action=CANCEL, at=at, new_id=new_id)
        return job.id
    if job.state == JobState.ADMITTED:
        await hasten_launch(session, job, at=at)
    job.stop_code, job.stop_message, job.stop_at = told.code, told.message, at
    await move(session, job, JobState.STOPPING, told, at=at, new_id=new_id)
    await record(
        session,
        actor,
        action=CANCEL,
        resources=[ResourceRef("Job", job_id)],
        team_id=job.team_id,
        justification=told.message,
        after={"state": JobState.STOPPING},
        at=at,
        new_id=new_id,
    )
    wake_workers(session)
    await session.flush()
    return job.id
