"""The attempt behind a job's token: every answer to a runner begins by asking whether it still counts."""

from dataclasses import dataclass

from sqlalchemy import select

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict
from scheduler.jobs.states import LIVE_ATTEMPT_STATES, ON_CLUSTER_STATES
from scheduler.jobs.tables import Attempt, Job

REPORT = "scheduler:job:report"


class AttemptEnded(Conflict):
    """The attempt is over: nothing that its runner says counts any more."""

    code = "ATTEMPT_ENDED"


@dataclass(frozen=True, kw_only=True)
class LiveAttempt:
    """An attempt that may be running, with its job."""

    job: Job
    attempt: Attempt


async def read_live(session: ReadSession, actor: Actor) -> LiveAttempt:
    """The attempt of the caller's token; raises PermissionRefused for who is no job, AttemptEnded."""
    _require_job(actor)
    assert actor.job is not None, "a job's actor carries its claims"
    statement = select(Job, Attempt).join(Attempt, Attempt.job_id == Job.id).where(Attempt.id == actor.job.attempt_id)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise AttemptEnded("There is no such attempt.")
    return _require_live(LiveAttempt(job=row[0], attempt=row[1]))


async def lock_live(session: WriteSession, actor: Actor) -> LiveAttempt:
    """As `read_live`, with the attempt's row held: reports of one attempt come one after the other."""
    found = await read_live(session, actor)
    (attempt,) = await lock_rows(session, Attempt, [found.attempt.id])
    return _require_live(LiveAttempt(job=found.job, attempt=attempt))


def _require_live(found: LiveAttempt) -> LiveAttempt:
    if found.attempt.state not in LIVE_ATTEMPT_STATES or found.job.state not in ON_CLUSTER_STATES:
        raise AttemptEnded("This attempt is over; nothing more of it is taken.")
    return found


def _require_job(actor: Actor) -> None:
    if actor.job is None:
        raise PermissionRefused(
            "Only a running job may call this, with the token that it was given.",
            permission=REPORT,
        )
