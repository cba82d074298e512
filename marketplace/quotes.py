"""Quotes as stored: written once with all that binds, read for acceptance under a lock, accepted at most once.

`scheduler.quoting` composes them, because it knows pools and predictions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import team_rows
from guildhall.errors import Conflict, NotFound
from marketplace.pricing import Segment
from marketplace.tables import Quote
from marketplace.tariffs import Tariff

READ_PERMISSION = "marketplace:quote:read"


class UnknownQuote(NotFound):
    """No quote has this id, or it is another team's."""


class QuoteExpired(Conflict):
    """The quote's minutes are over."""

    code = "QUOTE_EXPIRED"


class QuoteAlreadyAccepted(Conflict):
    """The quote has its job."""

    code = "QUOTE_ALREADY_ACCEPTED"


@dataclass(frozen=True, kw_only=True)
class NewQuote:
    """All that a quote binds; credits in micro-credits, `job` the normalised specification as JSON."""

    id: UUID
    team_id: UUID
    programme_id: UUID
    requested_by: UUID
    job: dict[str, Any]
    tariffs: Sequence[Tariff]
    segments: Sequence[Segment]
    estimated_price: int
    hold: int
    predicted_start: datetime | None
    predicted_energy_watt_hours: int | None
    predicted_carbon_grams: int | None = None
    start_by: datetime
    expires_at: datetime
    excluded: Sequence[dict[str, Any]]
    suggestions: Sequence[dict[str, Any]]


async def store_quote(session: AsyncSession, quote: NewQuote, *, at: datetime) -> UUID:
    """Keep the quote with a copy of its rates; the eligible pools are those of its tariffs."""
    await session.execute(
        insert(Quote).values(
            id=quote.id,
            team_id=quote.team_id,
            programme_id=quote.programme_id,
            requested_by=quote.requested_by,
            job=quote.job,
            snapshot={str(tariff.pool_id): tariff.to_json() for tariff in quote.tariffs},
            segments=[segment_to_json(segment) for segment in quote.segments],
            estimated_price=quote.estimated_price,
            hold=quote.hold,
            predicted_start=quote.predicted_start,
            predicted_energy_watt_hours=quote.predicted_energy_watt_hours,
            predicted_carbon_grams=quote.predicted_carbon_grams,
            start_by=quote.start_by,
            created_at=at,
            expires_at=quote.expires_at,
            eligible_pool_ids=[tariff.pool_id for tariff in quote.tariffs],
            excluded=list(quote.excluded),
            suggestions=list(quote.suggestions),
        )
    )
    return quote.id


async def load_quote_for_acceptance(session: AsyncSession, actor: Actor, *, quote_id: UUID, at: datetime) -> Quote:
    """The quote, locked until the transaction ends, if it can still be accepted.

    Raises UnknownQuote (also for a quote that the caller may not see), QuoteAlreadyAccepted or QuoteExpired. A rival
    who accepts the same quote waits here and then meets QuoteAlreadyAccepted.
    """
    quote = await session.scalar(
        select(Quote)
        .where(Quote.id == quote_id, visible_quotes(actor))
        .with_for_update(of=Quote, key_share=True)
        .execution_options(populate_existing=True)
    )
    if quote is None:
        raise UnknownQuote("There is no such quote.", field="quoteId")
    if quote.accepted_at is not None:
        raise QuoteAlreadyAccepted("This quote was accepted before; a quote leads to one job.", field="quoteId")
    if at >= quote.expires_at:
        raise QuoteExpired(
            f"This quote was valid until {quote.expires_at:%Y-%m-%d %H:%M:%S} UTC: ask for a new one.", field="quoteId"
        )
    return quote


async def mark_accepted(session: AsyncSession, *, quote_id: UUID, job_id: UUID, at: datetime) -> None:
    """Tie the locked quote to its job."""
    await session.execute(update(Quote).where(Quote.id == quote_id).values(accepted_at=at, job_id=job_id))


def visible_quotes(actor: Actor) -> ColumnElement[bool]:
    """The quotes of teams in which the caller may see them."""
    return team_rows(actor, team_column=Quote.team_id, permission=READ_PERMISSION)


def tariffs_of(quote: Quote, pool_ids: Iterable[UUID] | None = None) -> dict[UUID, Tariff]:
    """The rates that the quote was made at, by pool; all that a charge is computed from."""
    wanted = quote.eligible_pool_ids if pool_ids is None else pool_ids
    return {pool_id: Tariff.from_json(quote.snapshot[str(pool_id)]) for pool_id in wanted}


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """As `quotes.segments` keeps it; credits are whole micro-credits."""
    return {
        "startsAt": segment.starts_at.isoformat(),
        "endsAt": segment.ends_at.isoformat(),
        "poolId": str(segment.pool_id),
        "creditsPerHour": segment.credits_per_hour,
        "credits": segment.credits,
    }
