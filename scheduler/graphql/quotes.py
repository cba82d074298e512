"""Quotes: what a job would cost, where it could run and when; and their acceptance."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import cast
from sqlalchemy.types import Float

from guildhall.graphql.context import Call, Context
from guildhall.graphql.declare import (
    column,
    extend,
    json_list,
    many_by_ids,
    node,
    object_type,
    one,
    payload,
    reference,
    resolver,
)
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID, Credits
from marketplace.quotes import READ_PERMISSION, visible_quotes
from marketplace.tables import Quote
from scheduler.graphql.job_inputs import JobSpecInput, job_spec
from scheduler.quoting.accepting import SUBMIT, accept_quote
from scheduler.quoting.requesting import REQUEST, request_quote

SUGGESTION_TYPES = {"MODEL": "Model", "LESSON": "Lesson", "POOL": "Pool"}


@object_type("QuoteSegment")
class QuoteSegmentType:
    """A stretch of the predicted run at one rate."""

    @resolver(needs={"moment": "startsAt"}, nullable=False)
    def starts_at(_context: Context, values: Mapping[str, Any]) -> datetime:
        """Its beginning."""
        return datetime.fromisoformat(values["moment"])

    @resolver(needs={"moment": "endsAt"}, nullable=False)
    def ends_at(_context: Context, values: Mapping[str, Any]) -> datetime:
        """Its end, not included."""
        return datetime.fromisoformat(values["moment"])

    pool = one("Pool", local="poolId", nullable=False)
    credits_per_hour: Credits = column("creditsPerHour", description="For one accelerator.")
    credits: Credits = column("credits", description="For all accelerators of the job.")


@object_type("ExcludedPool")
class ExcludedPoolType:
    """A pool that cannot run the job, and why."""

    pool = one("Pool", local="poolId", nullable=False)

    @resolver(needs={"code": "code", "message": "message"}, returns="Reason", nullable=False)
    def reason(_context: Context, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Why not."""
        return {"code": values["code"], "message": values["message"]}


@object_type("QuoteSuggestion")
class QuoteSuggestionType:
    """What else to think of before spending: EXISTING_MODEL, LESSON, CHEAPER_START."""

    kind: str
    message: str
    node = reference("nodeKind", "nodeId", types=SUGGESTION_TYPES)


@node("Quote", table=Quote, visible=visible_quotes, permission=READ_PERMISSION, team=Quote.team_id)
class QuoteType:
    """A binding offer: its rates hold whatever changes later, its start is a prediction."""

    team = one("Team", local=Quote.team_id, nullable=False)
    programme = one("Programme", local=Quote.programme_id, nullable=False)
    created_at: datetime = column(Quote.created_at)
    expires_at: datetime = column(Quote.expires_at)
    start_by: datetime = column(Quote.start_by)
    estimated_price: Credits = column(
        Quote.estimated_price, description="For all of the walltime from the predicted start on."
    )
    hold: Credits = column(Quote.hold, description="The worst case; what is not used comes back.")
    predicted_start: datetime | None = column(Quote.predicted_start)
    predicted_energy_kwh: float | None = column(cast(Quote.predicted_energy_watt_hours, Float) / 1000)
    predicted_carbon_kg: float | None = column(
        cast(Quote.predicted_carbon_grams, Float) / 1000,
        description="Of the same energy, at the cluster's carbon intensity; null where that is not known.",
    )
    segments = json_list("QuoteSegment", Quote.segments)
    eligible_pools = many_by_ids("Pool", Quote.eligible_pool_ids)
    excluded_pools = json_list("ExcludedPool", Quote.excluded)
    suggestions = json_list("QuoteSuggestion", Quote.suggestions)
    accepted_at: datetime | None = column(Quote.accepted_at)
    job = one("Job", local=Quote.job_id)


@input_type
class RequestQuoteInput(MutationInput):
    """For whom, on which programme's credits, and what to run."""

    team: str
    programme: str
    job: JobSpecInput


@payload
class RequestQuotePayload:
    """The quote."""

    quote = one("Quote", local="quote")


@input_type
class AcceptQuoteInput(MutationInput):
    """Which quote."""

    quote_id: ID


@payload
class AcceptQuotePayload:
    """The job that the quote has become."""

    job = one("Job", local="job")


@extend("Mutation")
class QuoteMutations:
    """What is done with quotes."""

    @mutation(permission=REQUEST, payload=RequestQuotePayload)
    async def request_quote(call: Call, given: RequestQuoteInput) -> Mapping[str, Any]:
        """Ask what a job would cost. Nothing is held until the quote is accepted."""
        quote_id = await request_quote(
            call.session,
            call.actor,
            team=given.team,
            programme=given.programme,
            job=job_spec(given.job, at=call.at),
            pools=given.job.pools,
            valid_seconds=call.settings.quote_valid_seconds,
            grace_seconds=call.settings.runner_grace_seconds,
            at=call.at,
            new_id=call.new_id,
        )
        return {"quote": quote_id}

    @mutation(permission=SUBMIT, payload=AcceptQuotePayload)
    async def accept_quote(call: Call, given: AcceptQuoteInput) -> Mapping[str, Any]:
        """Hold the quote's credits and put its job into the queue."""
        quote_id = decode_id(given.quote_id, "Quote", field="quoteId")
        return {"job": await accept_quote(call.session, call.actor, quote_id=quote_id, at=call.at, new_id=call.new_id)}


TYPES = [
    QuoteSegmentType, ExcludedPoolType, QuoteSuggestionType, QuoteType, RequestQuotePayload, AcceptQuotePayload,
    QuoteMutations,
]  # fmt: skip
