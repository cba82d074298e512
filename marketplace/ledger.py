"""Money operations: each is one call of a function of the database, which locks, decides, writes and answers.

A call either does everything or nothing. Under the same key with the same input it answers again what it answered
first, and does nothing; a refusal is raised here, wrote nothing, and is not kept, so that the same call may succeed
later. A transaction does one money operation, as late as it can: balance rows stay locked until the commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, String, Uuid, bindparam, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import IdSource
from guildhall.clock import new_id as new_uuid
from marketplace.ledger_refusals import CreditsOutOfRange, refusal_of, require_credits

EXPIRED_ALLOCATIONS_MAX = 1_000
OUT_OF_RANGE = "22003"


@dataclass(frozen=True)
class HoldPart:
    """What a hold reserves in one allocation, in micro-credits."""

    allocation_id: UUID
    credits: int


@dataclass(frozen=True)
class Hold:
    """Credits reserved, in the order in which they are charged: what ends first goes first."""

    id: UUID
    credits: int
    parts: tuple[HoldPart, ...]


@dataclass(frozen=True)
class Settlement:
    """How a hold ended: `captured + released` was held; `expired` is the part of `released` that came too late."""

    hold_id: UUID
    captured: int
    released: int
    expired: int


@dataclass(frozen=True)
class ExpiredAllocation:
    """What was left in an allocation at its end."""

    allocation_id: UUID
    credits: int


async def allocate(
    session: AsyncSession,
    *,
    allocation_id: UUID,
    team_id: UUID,
    programme_id: UUID,
    credits: int,
    valid_from: datetime,
    valid_to: datetime,
    reason: str,
    at: datetime,
    key: str,
    period_id: UUID | None = None,
) -> UUID:
    """Give a team new credits from the treasury, in an allocation of its own; the id is that of the first answer."""
    require_credits(credits)
    answer = await _call(
        session,
        "ledger_allocate("
        ":key, :allocation, :team, :programme, :period, :credits, :valid_from, :valid_to, :reason, :at)",
        key=key,
        allocation=allocation_id,
        team=team_id,
        programme=programme_id,
        period=period_id,
        credits=credits,
        valid_from=valid_from,
        valid_to=valid_to,
        reason=reason,
        at=at,
    )
    return UUID(answer["allocation_id"])


async def place_hold(
    session: AsyncSession,
    *,
    hold_id: UUID,
    team_id: UUID,
    programme_id: UUID,
    credits: int,
    job_id: UUID | None,
    at: datetime,
    expires_at: datetime,
    key: str,
    reason: str = "Held for a job.",
    wallet: str = "the team's wallet",
) -> Hold:
    """Reserve credits of the team's allocations for the programme that are valid at `at`, those that end first first.

    `wallet` names the wallet in the sentence of InsufficientCredits. A hold of zero credits reserves nothing and
    resolves like any other.
    """
    if credits != 0:
        require_credits(credits)
    answer = await _call(
        session,
        "ledger_place_hold(:key, :hold, :team, :programme, :credits, :job, :at, :expires_at, :reason)",
        wallet=wallet,
        key=key,
        hold=hold_id,
        team=team_id,
        programme=programme_id,
        credits=credits,
        job=job_id,
        at=at,
        expires_at=expires_at,
        reason=reason,
    )
    parts = tuple(HoldPart(UUID(part["allocation_id"]), part["credits"]) for part in answer["parts"])
    return Hold(UUID(answer["hold_id"]), sum(part.credits for part in parts), parts)


@dataclass(frozen=True, kw_only=True)
class HoldEnd:
    """How one of many holds is to end: charged `captured` micro-credits of it, or None: not at all."""

    hold_id: UUID
    captured: int | None
    key: str
    reason: str


async def settle_holds(
    session: AsyncSession, ends: Sequence[HoldEnd], *, at: datetime, new_id: IdSource = new_uuid
) -> list[Settlement]:
    """Charge all or part of many holds and release the rest, or release them, in one call; the answers in order.

    Each has a key of its own; locks are taken in one order across all. The first refusal is raised for all of them:
    MoreThanHeld, HoldAlreadyResolved, UnknownHold.
    """
    values = {
        "keys": [end.key for end in ends],
        "bases": [new_id() for _ in ends],
        "holds": [end.hold_id for end in ends],
        "credits": [end.captured for end in ends],
        "reasons": [end.reason for end in ends],
    }
    call = text("SELECT ledger_settle_holds(:keys, :bases, :holds, :credits, :at, :reasons)").bindparams(
        bindparam("keys", type_=ARRAY(String)),
        bindparam("bases", type_=ARRAY(Uuid)),
        bindparam("holds", type_=ARRAY(Uuid)),
        bindparam("credits", type_=ARRAY(BigInteger)),
        bindparam("reasons", type_=ARRAY(String)),
    )
    answers: list[dict[str, Any]] = (await session.execute(call, {**values, "at": at})).scalar_one()
    for answer in answers:
        if answer["outcome"] != "DONE":
            raise refusal_of(answer, "")
    return [_settlement(answer) for answer in answers]


async def void_hold(
    session: AsyncSession,
    *,
    hold_id: UUID,
    at: datetime,
    key: str,
    reason: str = "Released: the job did not run.",
    new_id: IdSource = new_uuid,
) -> Settlement:
    """Release the whole hold; raises HoldAlreadyResolved, UnknownHold."""
    call = "ledger_void_hold(:key, :base, :hold, :at, :reason)"
    return _settlement(await _call(session, call, key=key, base=new_id(), hold=hold_id, at=at, reason=reason))


async def expire_hold(
    session: AsyncSession,
    *,
    hold_id: UUID,
    at: datetime,
    key: str,
    reason: str = "The hold's time is over.",
    new_id: IdSource = new_uuid,
) -> Settlement:
    """Release a hold whose time is over; the caller knows that no attempt may still run. Raises HoldNotExpired too."""
    call = "ledger_expire_hold(:key, :base, :hold, :at, :reason)"
    return _settlement(await _call(session, call, key=key, base=new_id(), hold=hold_id, at=at, reason=reason))


async def expire_allocations(
    session: AsyncSession,
    *,
    at: datetime,
    limit: int = EXPIRED_ALLOCATIONS_MAX,
    reason: str = "The allocation has ended.",
    new_id: IdSource = new_uuid,
) -> Sequence[ExpiredAllocation]:
    """Expire what is left of allocations that have ended by `at`, at most `limit`: call again while it is reached."""
    assert 1 <= limit <= EXPIRED_ALLOCATIONS_MAX, f"1 to {EXPIRED_ALLOCATIONS_MAX} allocations a call"
    answer = await _call(
        session,
        "ledger_expire_allocations(:base, :at, :limit, :reason)",
        base=new_id(),
        at=at,
        limit=limit,
        reason=reason,
    )
    return [ExpiredAllocation(UUID(each["allocation_id"]), each["credits"]) for each in answer["expired"]]


async def return_credits(
    session: AsyncSession,
    *,
    allocation_id: UUID,
    credits: int,
    reason: str,
    at: datetime,
    key: str,
    new_id: IdSource = new_uuid,
) -> None:
    """Hand credits back to the treasury; raises InsufficientCredits, AllocationEnded, UnknownAllocation."""
    require_credits(credits)
    await _call(
        session,
        "ledger_return_credits(:key, :base, :allocation, :credits, :at, :reason)",
        wallet="the allocation",
        key=key,
        base=new_id(),
        allocation=allocation_id,
        credits=credits,
        at=at,
        reason=reason,
    )


async def send_credits(
    session: AsyncSession,
    *,
    allocation_id: UUID,
    to_team_id: UUID,
    credits: int,
    reason: str,
    at: datetime,
    key: str,
    new_id: IdSource = new_uuid,
) -> UUID:
    """Give credits to another team, for the same programme and time; the id of the receiving allocation.

    Raises InsufficientCredits, AllocationEnded, UnknownAllocation, SameTeam.
    """
    require_credits(credits)
    answer = await _call(
        session,
        "ledger_send_credits(:key, :base, :allocation, :team, :credits, :at, :reason)",
        wallet="the allocation",
        key=key,
        base=new_id(),
        allocation=allocation_id,
        team=to_team_id,
        credits=credits,
        at=at,
        reason=reason,
    )
    return UUID(answer["target_id"])


async def refund(
    session: AsyncSession,
    *,
    hold_id: UUID,
    credits: int,
    reason: str,
    at: datetime,
    key: str,
    new_id: IdSource = new_uuid,
) -> None:
    """Correct a charge: give back part of what a settled hold was charged, with a reason; raises MoreThanCaptured."""
    require_credits(credits)
    await _call(
        session,
        "ledger_refund(:key, :base, :hold, :credits, :at, :reason)",
        key=key,
        base=new_id(),
        hold=hold_id,
        credits=credits,
        at=at,
        reason=reason,
    )


async def _call(session: AsyncSession, call: str, *, wallet: str = "", **values: object) -> dict[str, Any]:
    """One money operation: the answer of the database if it was done, else the refusal that it names."""
    try:
        result = await session.execute(text(f"SELECT {call}"), values)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == OUT_OF_RANGE:
            raise CreditsOutOfRange("The account would hold more credits than can be kept.") from error
        raise
    answer: dict[str, Any] = result.scalar_one()
    if answer["outcome"] == "DONE":
        return answer
    raise refusal_of(answer, wallet)


def _settlement(answer: dict[str, Any]) -> Settlement:
    return Settlement(UUID(answer["hold_id"]), answer["captured"], answer["released"], answer["expired"])
