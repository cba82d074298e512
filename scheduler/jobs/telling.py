"""Who is told that a job has ended, and that credits of its hold are free again: the person who submitted it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.clock import IdSource
from guildhall.credits import format_credits
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.telling import Telling, tell_all
from marketplace.ledger import Settlement
from scheduler.jobs.tables import Job


async def tell_ended(
    session: AsyncSession, ended: Sequence[tuple[Job, Settlement]], *, at: datetime, new_id: IdSource
) -> None:
    """Tell of jobs that were settled just now. What a program submitted is told to nobody's inbox, but leaves."""
    tellings = [each for job, settlement in ended for each in _tellings(job, settlement)]
    await tell_all(session, tellings, at=at, new_id=new_id)


def _tellings(job: Job, settlement: Settlement) -> list[Telling]:
    free = settlement.released - settlement.expired
    people = [job.created_by] if job.created_by_kind == ActorKind.USER else []
    subject = ResourceRef("Job", job.id)
    facts = {
        "job": job.name,
        "state": job.state,
        "message": job.state_message,
        "held": format_credits(job.held),
        "captured": format_credits(settlement.captured),
        "released": format_credits(free),
    }
    kinds = [EventKind.JOB_ENDED, *([EventKind.HOLD_RELEASED] if free > 0 else [])]
    return [Telling(kind=kind, subject=subject, team_id=job.team_id, recipients=people, facts=facts) for kind in kinds]
