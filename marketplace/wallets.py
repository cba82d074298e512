"""What people do with credits: allocate them to a team, see what is available, return, send, refund."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require, team_rows
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.credits import format_credits
from guildhall.errors import Invalid, NotFound
from marketplace import ledger
from marketplace.following import wallet_changed
from marketplace.ledger_refusals import InsufficientCredits, UnknownAllocation, require_credits
from marketplace.programmes import period_named, programme_named, team_named, wallet_name
from marketplace.tables import Allocation, Balance, Hold, HoldResolution

REASON_CHARACTERS_MAX = 1_000
READ_PERMISSION = "marketplace:wallet:read"


class ReasonMissing(Invalid):
    """Credits move for a reason, in words, of bounded length."""

    code = "REASON_MISSING"


class TimesInvalid(Invalid):
    """An allocation that would end before it begins, or before now."""

    code = "TIMES_INVALID"


class NothingCharged(NotFound):
    """No settled charge of this job that the caller may see."""


async def allocate_credits(
    session: AsyncSession,
    actor: Actor,
    *,
    team: str,
    programme: str,
    credits: int,
    valid_from: datetime,
    valid_to: datetime,
    reason: str,
    at: datetime,
    new_id: IdSource,
    period: str | None = None,
) -> UUID:
    """Give a team credits for a programme and a time; the id of the allocation."""
    owner = await team_named(session, team)
    require(actor, "marketplace:credits:allocate", team_id=owner.id, resource=ResourceRef("Team", owner.id))
    purpose = await programme_named(session, programme)
    stretch = None if period is None else await period_named(session, period)
    require_credits(credits, "credits")
    _require_reason(reason)
    if valid_from >= valid_to:
        raise TimesInvalid("An allocation begins before it ends.", field="validTo")
    if valid_to <= at:
        raise TimesInvalid("The allocation would have ended already.", field="validTo")
    allocation_id = new_id()
    await record(
        session,
        actor,
        action="marketplace:credits:allocate",
        resources=[
            ResourceRef("Allocation", allocation_id),
            ResourceRef("Team", owner.id),
            ResourceRef("Programme", purpose.id),
        ],
        team_id=owner.id,
        justification=reason,
        after={"credits": format_credits(credits), "validFrom": valid_from, "validTo": valid_to},
        at=at,
        new_id=new_id,
    )
    wallet_changed(session, owner.id)
    return await ledger.allocate(
        session,
        allocation_id=allocation_id,
        team_id=owner.id,
        programme_id=purpose.id,
        period_id=None if stretch is None else stretch.id,
        credits=credits,
        valid_from=valid_from,
        valid_to=valid_to,
        reason=reason,
        at=at,
        key=f"allocate {allocation_id}",
    )


async def available_credits(session: AsyncSession, *, team_id: UUID, programme_id: UUID, at: datetime) -> int:
    """What a hold placed at that moment could draw on, in micro-credits."""
    found = await session.scalar(
        select(func.coalesce(func.sum(Balance.remaining), 0))
        .join(Allocation, Allocation.id == Balance.account_id)
        .where(Allocation.team_id == team_id, Allocation.programme_id == programme_id)
        .where(Allocation.valid_from <= at, Allocation.valid_to > at)
    )
    return int(found)  # type: ignore[arg-type]  # COALESCE gives a number


async def require_available(
    session: AsyncSession, *, team_id: UUID, programme_id: UUID, credits: int, at: datetime, field: str | None = None
) -> None:
    """Raise InsufficientCredits, which names the sum that is missing and the wallet, if a hold would be refused now."""
    available = await available_credits(session, team_id=team_id, programme_id=programme_id, at=at)
    if available < credits:
        wallet = await wallet_name(session, team_id=team_id, programme_id=programme_id)
        raise InsufficientCredits(missing=credits - available, available=available, wallet=wallet, field=field)


async def return_team_credits(
    session: AsyncSession,
    actor: Actor,
    *,
    allocation_id: UUID,
    credits: int,
    reason: str,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Hand what the team does not need back to the treasury; the id of the allocation."""
    allocation = await _visible_allocation(session, actor, allocation_id)
    await _record_move(
        session, actor, allocation, {"returned": format_credits(credits)}, reason=reason, at=at, new_id=new_id
    )
    wallet_changed(session, allocation.team_id)
    await ledger.return_credits(
        session,
        allocation_id=allocation_id,
        credits=require_credits(credits, "credits"),
        reason=reason,
        at=at,
        key=f"return {new_id()}",
        new_id=new_id,
    )
    return allocation_id


async def send_team_credits(
    session: AsyncSession,
    actor: Actor,
    *,
    allocation_id: UUID,
    to_team: str,
    credits: int,
    reason: str,
    at: datetime,
    new_id: IdSource,
) -> tuple[UUID, UUID]:
    """Give credits to another team, for the same programme and time; the ids of both allocations, the giver's first."""
    allocation = await _visible_allocation(session, actor, allocation_id)
    taker = await team_named(session, to_team, field="toTeam")
    sent = {"sent": format_credits(credits), "toTeam": to_team}
    await _record_move(session, actor, allocation, sent, reason=reason, at=at, new_id=new_id)
    wallet_changed(session, allocation.team_id)
    wallet_changed(session, taker.id)
    target_id = await ledger.send_credits(
        session,
        allocation_id=allocation_id,
        to_team_id=taker.id,
        credits=require_credits(credits, "credits"),
        reason=reason,
        at=at,
        key=f"send {new_id()}",
        new_id=new_id,
    )
    return allocation_id, target_id


async def refund_charge(
    session: AsyncSession,
    actor: Actor,
    *,
    job_id: UUID,
    credits: int,
    reason: str,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Correct what a job was charged; the credits go back to the allocations that paid. The id of the hold."""
    hold = await session.scalar(
        select(Hold)
        .join(HoldResolution, HoldResolution.hold_id == Hold.id)
        .where(Hold.job_id == job_id, HoldResolution.captured > 0)
        .where(team_rows(actor, team_column=Hold.team_id, permission=READ_PERMISSION))
    )
    if hold is None:
        raise NothingCharged("There is no such job, or it was charged nothing.", field="jobId")
    require(actor, "marketplace:credits:refund", team_id=hold.team_id, resource=ResourceRef("Job", job_id))
    _require_reason(reason)
    await record(
        session,
        actor,
        action="marketplace:credits:refund",
        resources=[ResourceRef("Job", job_id), ResourceRef("Team", hold.team_id)],
        team_id=hold.team_id,
        justification=reason,
        after={"refunded": format_credits(credits)},
        at=at,
        new_id=new_id,
    )
    wallet_changed(session, hold.team_id)
    await ledger.refund(
        session,
        hold_id=hold.id,
        credits=require_credits(credits, "credits"),
        reason=reason,
        at=at,
        key=f"refund {new_id()}",
        new_id=new_id,
    )
    return hold.id


def visible_allocations(actor: Actor) -> ColumnElement[bool]:
    """The allocations of wallets that the caller may see."""
    return team_rows(actor, team_column=Allocation.team_id, permission=READ_PERMISSION)


async def _visible_allocation(session: AsyncSession, actor: Actor, allocation_id: UUID) -> Allocation:
    allocation = await session.scalar(
        select(Allocation).where(Allocation.id == allocation_id).where(visible_allocations(actor))
    )
    if allocation is None:
        raise UnknownAllocation("There is no such allocation.", field="allocationId")
    require(
        actor,
        "marketplace:credits:send",
        team_id=allocation.team_id,
        resource=ResourceRef("Allocation", allocation_id),
    )
    return allocation


async def _record_move(
    session: AsyncSession,
    actor: Actor,
    allocation: Allocation,
    after: dict[str, str],
    *,
    reason: str,
    at: datetime,
    new_id: IdSource,
) -> None:
    _require_reason(reason)
    await record(
        session,
        actor,
        action="marketplace:credits:send",
        resources=[ResourceRef("Allocation", allocation.id), ResourceRef("Team", allocation.team_id)],
        team_id=allocation.team_id,
        justification=reason,
        after=after,
        at=at,
        new_id=new_id,
    )


def _require_reason(reason: str) -> None:
    if not 0 < len(reason.strip()) <= REASON_CHARACTERS_MAX or "\0" in reason:
        message = f"Say why, in 1 to {REASON_CHARACTERS_MAX} characters, none of them null."
        raise ReasonMissing(message, field="reason")
