"""Accepting a quote: the hold, the job in the queue, its first event and the row of its launch, in one transaction."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import insert, select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import Team
from guildhall.clock import IdSource
from guildhall.credits import format_credits
from guildhall.db.transaction import WriteSession
from guildhall.outbox.outbox import enqueue
from marketplace import ledger
from marketplace.following import wallet_changed
from marketplace.programmes import wallet_of
from marketplace.quotes import QuoteAlreadyAccepted, load_quote_for_acceptance, mark_accepted
from marketplace.tables import Programme, Quote
from scheduler.clusters.executor import Reason
from scheduler.jobs.moving import tell
from scheduler.jobs.spec import JobSpec
from scheduler.jobs.states import JobState
from scheduler.jobs.tables import Job, JobInput
from scheduler.launching import LAUNCH_TOPIC
from scheduler.waking import wake_workers

SUBMIT = "scheduler:job:submit"
SPEND = "marketplace:credits:spend"
QUEUED = Reason("QUEUED", "waits for the scheduler's next look at the queue")
HOLD_MARGIN = timedelta(days=1)
"""How long a hold outlives the latest possible end. Nothing ends it by time: the scheduler resolves it, or nobody."""


async def accept_quote(session: WriteSession, actor: Actor, *, quote_id: UUID, at: datetime, new_id: IdSource) -> UUID:
    """Make the quote's job, waiting in the queue, and return its id. Accepted again, a quote answers with its one job.

    Raises UnknownQuote, QuoteExpired, InsufficientCredits (the wallet has changed since the quote), PermissionRefused.
    """
    try:
        quote = await load_quote_for_acceptance(session, actor, quote_id=quote_id, at=at)
    except QuoteAlreadyAccepted:
        return await _accepted_before(session, actor, quote_id)
    resource = ResourceRef("Quote", quote.id)
    require(actor, SUBMIT, team_id=quote.team_id, resource=resource)
    require(actor, SPEND, team_id=quote.team_id, resource=resource)
    spec = JobSpec.from_json({name: value for name, value in quote.job.items() if name != "sensitive"})
    about = select(Team.name, Programme.name, Programme.strategic_class)
    about = about.join(Programme, Programme.id == quote.programme_id).where(Team.id == quote.team_id)
    team, programme, strategic_class = (await session.execute(about)).one()
    job_id, hold_id = new_id(), new_id()
    # After the latest start nobody will admit it; an admission sets the moment at which the launch may begin.
    launch_id = await enqueue(
        session,
        LAUNCH_TOPIC,
        {"job_id": str(job_id)},
        at=at,
        available_at=spec.start_by + HOLD_MARGIN,
        new_id=new_id,
    )
    await mark_accepted(session, quote_id=quote.id, job_id=job_id, at=at)
    await record(
        session,
        actor,
        action=SUBMIT,
        resources=[ResourceRef("Job", job_id), resource],
        team_id=quote.team_id,
        after={"state": JobState.QUEUED, "hold": format_credits(quote.hold)},
        at=at,
        new_id=new_id,
    )
    wake_workers(session)
    wallet_changed(session, quote.team_id)
    await ledger.place_hold(
        session,
        hold_id=hold_id,
        team_id=quote.team_id,
        programme_id=quote.programme_id,
        credits=quote.hold,
        job_id=job_id,
        at=at,
        expires_at=spec.start_by + timedelta(seconds=spec.walltime_seconds) + HOLD_MARGIN,
        key=f"hold {quote.id}",
        reason=f"Held for job {spec.name}.",
        wallet=wallet_of(team, programme),
    )
    job = _job_of(quote, spec, actor, at=at)
    job.id, job.hold_id, job.launch_outbox_id, job.strategic_class = job_id, hold_id, launch_id, strategic_class
    await _add_job(session, job, spec, at=at, new_id=new_id)
    return job_id


async def _accepted_before(session: WriteSession, actor: Actor, quote_id: UUID) -> UUID:
    quote = (await session.scalars(select(Quote).where(Quote.id == quote_id))).one()
    require(actor, SUBMIT, team_id=quote.team_id, resource=ResourceRef("Quote", quote_id))
    assert quote.job_id is not None, "an accepted quote has its job"
    return quote.job_id


def _job_of(quote: Quote, spec: JobSpec, actor: Actor, *, at: datetime) -> Job:
    """What the quote says of its job."""
    return Job(
        team_id=quote.team_id,
        programme_id=quote.programme_id,
        quote_id=quote.id,
        name=spec.name,
        spec=spec.to_json(),
        spec_hash=spec.digest(),
        state=JobState.QUEUED.value,
        state_code=QUEUED.code,
        state_message=QUEUED.message,
        predicted_start=quote.predicted_start,
        tier=spec.tier.value,
        slots=spec.slots,
        walltime_seconds=spec.walltime_seconds,
        start_by=spec.start_by,
        sensitive=quote.job["sensitive"],
        held=quote.hold,
        captured=0,
        released=0,
        created_by_kind=actor.kind.value,
        created_by=actor.id,
        created_at=at,
    )


async def _add_job(session: WriteSession, job: Job, spec: JobSpec, *, at: datetime, new_id: IdSource) -> None:
    session.add(job)
    await session.flush()
    inputs = [
        {
            "job_id": job.id,
            "index": index,
            "kind": each.kind.value,
            "source_id": each.source_id,
            "mount_path": each.mount_path,
            "purpose": each.purpose,
        }
        for index, each in enumerate(spec.inputs)
    ]
    if inputs:
        await session.execute(insert(JobInput).values(inputs))
    await tell(session, job, QUEUED, at=at, new_id=new_id)
