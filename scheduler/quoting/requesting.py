"""Composing a quote: all that binds is computed here, stored once, and never asked again of what can change."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.credits import format_credits
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import InvalidInput, Problem
from marketplace.pricing import charge, hold_for, segments
from marketplace.programmes import programme_named, team_named
from marketplace.quotes import NewQuote, store_quote
from marketplace.tariffs import Tariff
from marketplace.wallets import require_available
from scheduler.clusters.tables import Pool
from scheduler.jobs.spec import JobSpec
from scheduler.plan import Decision
from scheduler.quoting.checks import spec_problems
from scheduler.quoting.eligibility import Offer, no_offer_problem, read_offers
from scheduler.quoting.prediction import predict_start
from scheduler.quoting.references import Found, find_references
from scheduler.quoting.suggestions import suggest

REQUEST = "marketplace:quote:request"


async def request_quote(
    session: WriteSession,
    actor: Actor,
    *,
    team: str,
    programme: str,
    job: JobSpec,
    pools: Sequence[str] | None = None,
    valid_seconds: int,
    grace_seconds: int,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Store a binding quote for the job and return its id; nothing is held yet.

    `pools` narrows the choice to pools of these names. Raises InvalidInput with every problem of the job,
    AccessRefused, and InsufficientCredits, which names the sum that the team's wallet lacks for the hold.
    """
    owner = await team_named(session, team)
    require(actor, REQUEST, team_id=owner.id, resource=ResourceRef("Team", owner.id))
    purpose = await programme_named(session, programme)
    found = await _checked(session, actor, owner.id, job, pools, at)
    offers = await read_offers(session, spec=job, found=found, chosen=pools, at=at)
    tariffs = _eligible_tariffs(offers, job, at)
    if not tariffs:
        raise InvalidInput([no_offer_problem(offers, job)])
    quote_id = new_id()
    decision = await predict_start(
        session,
        job_id=quote_id,
        spec=job,
        strategic_class=purpose.strategic_class,
        pool_ids=tuple(tariff.pool_id for tariff in tariffs),
        grace_seconds=grace_seconds,
        at=at,
    )
    credits = hold_for(tariffs, at, job.start_by, job.walltime_seconds, job.slots)
    await require_available(session, team_id=owner.id, programme_id=purpose.id, credits=credits, at=at, field="job")
    course = _Course(job, offers, tariffs, decision, at)
    suggestions = await suggest(session, actor, spec=job, tariffs=tariffs, start=course.start, at=at)
    await store_quote(
        session,
        NewQuote(
            id=quote_id,
            team_id=owner.id,
            programme_id=purpose.id,
            requested_by=actor.id,
            job={**job.to_json(), "sensitive": found.sensitive},
            tariffs=tariffs,
            segments=course.segments,
            estimated_price=sum(segment.credits for segment in course.segments),
            hold=credits,
            predicted_start=decision.starts_at,
            predicted_energy_watt_hours=course.energy_watt_hours,
            predicted_carbon_grams=course.carbon_grams,
            start_by=job.start_by,
            expires_at=min(at + timedelta(seconds=valid_seconds), job.start_by),
            excluded=[_excluded(offer) for offer in offers if offer.reason is not None],
            suggestions=[suggestion.to_json() for suggestion in suggestions],
        ),
        at=at,
    )
    resources = [ResourceRef("Quote", quote_id), ResourceRef("Programme", purpose.id)]
    after = {"job": job.name, "hold": format_credits(credits)}
    await record(
        session, actor, action=REQUEST, resources=resources, team_id=owner.id, after=after, at=at, new_id=new_id
    )
    return quote_id


async def _checked(
    session: ReadSession, actor: Actor, team_id: UUID, job: JobSpec, pools: Sequence[str] | None, at: datetime
) -> Found:
    """What the job names, found; InvalidInput with everything that is wrong with it on its own, or with that."""
    problems = spec_problems(job, at=at)
    problems += await _unknown_pools(session, pools)
    if problems:
        raise InvalidInput(problems)
    found = await find_references(session, actor, team_id=team_id, spec=job, problems=problems, at=at)
    if problems:
        raise InvalidInput(problems)
    return found


async def _unknown_pools(session: ReadSession, pools: Sequence[str] | None) -> list[Problem]:
    if pools is None:
        return []
    known = set((await session.scalars(select(Pool.name).where(Pool.name.in_(pools)))).all())
    return [
        Problem("UNKNOWN_POOL", f"There is no pool named {name!r}.", f"job.pools[{index}]")
        for index, name in enumerate(pools)
        if name not in known
    ]


def _eligible_tariffs(offers: Sequence[Offer], job: JobSpec, at: datetime) -> list[Tariff]:
    """The rates of the pools that can run the job, the cheapest for a start now first: that is their preference."""
    tariffs = [offer.tariff for offer in offers if offer.reason is None and offer.tariff is not None]
    ends_at = at + timedelta(seconds=job.walltime_seconds)
    return sorted(tariffs, key=lambda tariff: charge(tariff, [(at, ends_at)], job.slots))


class _Course:
    """How the job would run at its predicted start: on which pool, at which rates, with how much energy and carbon.

    Without a predicted start, or with one that comes too late, the price is that of the latest moment that the quote
    allows, so that the estimate never exceeds the hold.
    """

    def __init__(
        self, job: JobSpec, offers: Sequence[Offer], tariffs: Sequence[Tariff], decision: Decision, at: datetime
    ) -> None:
        self.start = min(decision.starts_at or at, job.start_by)
        pool_id = decision.pool_id or tariffs[0].pool_id
        tariff = next(tariff for tariff in tariffs if tariff.pool_id == pool_id)
        self.segments = segments(tariff, self.start, job.walltime_seconds, job.slots)
        pool, cluster = next((offer.pool, offer.cluster) for offer in offers if offer.pool.id == pool_id)
        watt_seconds = pool.watts_per_accelerator * job.slots * job.walltime_seconds
        self.energy_watt_hours = watt_seconds // 3_600
        grams_per_kwh = cluster.carbon_grams_per_kwh
        self.carbon_grams = None if grams_per_kwh is None else watt_seconds * grams_per_kwh // 3_600_000


def _excluded(offer: Offer) -> dict[str, str]:
    assert offer.reason is not None, "an excluded pool has its reason"
    return {
        "poolId": str(offer.pool.id),
        "code": offer.reason.code,
        "message": f"Pool {offer.pool.name} {offer.reason.message}.",
    }
