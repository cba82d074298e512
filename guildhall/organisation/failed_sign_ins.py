"""Failures to sign in, counted by all processes together and told to auditors.

The count outlives a restart, and lies in a table of at most `ADDRESSES_MAX` rows and `LOOKED_EVERY` more for each
process. The record has the first failures of an address in a minute one by one, and all others in one event when their
minute is over: whoever fails a million times, from wherever, adds some twenty events a minute to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count

from sqlalchemy import Row, case, delete, func, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import RequestContext, system_actor
from guildhall.auth.attempts import ADDRESSES_MAX, WINDOW
from guildhall.auth.networks import neighbourhood
from guildhall.auth.tables import FailedSignIn
from guildhall.clock import IdSource
from guildhall.errors import GuildhallError
from guildhall.organisation.tokens import ISSUE

SINGLY_MAX = 3
"""How many failures of one address are recorded by themselves in a minute."""
SINGLY_IN_ALL_MAX = 20
"""And how many of all addresses; processes that count at once may each add one."""
NAMED_MAX = 20
"""How many addresses an event names that tells of many."""
DISPLACED = ADDRESSES_MAX // 10
"""How many of the oldest rows leave at once when the table is full, so that one event tells of them."""
LOOKED_EVERY = 100
"""How many new addresses a process lets by between two counts of the rows: a stranger can bring a new one each time."""

PART = "sign-in"


@dataclass(frozen=True)
class Count:
    """How often an address failed, since when."""

    since: datetime
    failures: int


@dataclass(frozen=True)
class Room:
    """When one process is to look again whether the table is full: at its first new address, then at each hundredth."""

    _addresses: "count[int]" = field(default_factory=count)

    def due(self) -> bool:
        """One more address failed for the first time; whether to look now."""
        return next(self._addresses) % LOOKED_EVERY == 0


async def failures_of(session: AsyncSession, address: str | None, *, at: datetime) -> Count | None:
    """What is counted of the address in the minute that it is now; None: nothing."""
    statement = select(FailedSignIn.since, FailedSignIn.failures).where(
        FailedSignIn.address == neighbourhood(address), FailedSignIn.since > at - WINDOW, FailedSignIn.since <= at
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else Count(row.since, row.failures)


async def count_failure(
    session: AsyncSession,
    request: RequestContext,
    why: GuildhallError | None,
    *,
    room: Room,
    at: datetime,
    new_id: IdSource,
) -> Count:
    """One more of the caller's address; None for a sign-in that is only begun, which counts and is not recorded."""
    key = neighbourhood(request.address)
    counted = await _count_one(session, key, at)
    if counted.failures == 1 and room.due() and await _rows(session) > ADDRESSES_MAX:
        await _tell_together(session, await _take(session, at, displaced=DISPLACED), at=at, new_id=new_id)
    if why is None:
        return Count(counted.since, counted.failures)
    singly = counted.recorded < SINGLY_MAX and await _recorded_in_all(session, at) < SINGLY_IN_ALL_MAX
    column = FailedSignIn.recorded if singly else FailedSignIn.unrecorded
    await session.execute(update(FailedSignIn).where(FailedSignIn.address == key).values({column: column + 1}))
    if singly:
        await record(
            session,
            replace(system_actor(PART), request=request),
            action=ISSUE,
            outcome=Outcome.REFUSED,
            reason=why,
            after={"failures": counted.failures},
            at=at,
            new_id=new_id,
        )
    return Count(counted.since, counted.failures)


async def tell_of_minutes_past(session: AsyncSession, *, at: datetime, new_id: IdSource) -> None:
    """Forget the addresses whose minute is over, and record in one event what was not recorded one by one."""
    await _tell_together(session, await _take(session, at), at=at, new_id=new_id)


async def _count_one(session: AsyncSession, key: str, at: datetime) -> "Row[datetime, int, int]":
    over = or_(FailedSignIn.since <= at - WINDOW, FailedSignIn.since > at)
    row = {"address": key, "since": at, "failures": 1, "recorded": 0, "unrecorded": 0}
    again = {
        "since": case((over, at), else_=FailedSignIn.since),
        "failures": case((over, 1), else_=FailedSignIn.failures + 1),
        "recorded": case((over, 0), else_=FailedSignIn.recorded),
    }
    statement = insert(FailedSignIn).values(row).on_conflict_do_update(index_elements=["address"], set_=again)
    columns = (FailedSignIn.since, FailedSignIn.failures, FailedSignIn.recorded)
    return (await session.execute(statement.returning(*columns))).one()


async def _rows(session: AsyncSession) -> int:
    return (await session.scalars(select(func.count()).select_from(FailedSignIn))).one()


async def _recorded_in_all(session: AsyncSession, at: datetime) -> int:
    some = FailedSignIn.recorded > literal_column("0")  # no parameter: the index has just these rows
    statement = select(func.coalesce(func.sum(FailedSignIn.recorded), 0)).where(FailedSignIn.since > at - WINDOW, some)
    return int((await session.scalars(statement)).one())


async def _take(session: AsyncSession, at: datetime, *, displaced: int = 0) -> "Sequence[Row[str, int]]":
    """Take out the rows whose minute is over, or so many of the oldest; not those that somebody counts on just now."""
    chosen = select(FailedSignIn.address).order_by(FailedSignIn.since).with_for_update(skip_locked=True)
    chosen = chosen.limit(displaced) if displaced else chosen.where(FailedSignIn.since <= at - WINDOW)
    statement = delete(FailedSignIn).where(FailedSignIn.address.in_(chosen))
    return (await session.execute(statement.returning(FailedSignIn.address, FailedSignIn.unrecorded))).all()


async def _tell_together(
    session: AsyncSession, rows: "Sequence[Row[str, int]]", *, at: datetime, new_id: IdSource
) -> None:
    told = sorted((row for row in rows if row.unrecorded), key=lambda row: (-row.unrecorded, row.address))
    if not told:
        return
    actor = system_actor(PART)
    await record(
        session,
        actor,
        action=ISSUE,
        outcome=Outcome.REFUSED,
        after={"failures": sum(row.unrecorded for row in told), "addresses": len(told)},
        personal={actor.id: {"addresses": {row.address: row.unrecorded for row in told[:NAMED_MAX]}}},
        at=at,
        new_id=new_id,
    )
