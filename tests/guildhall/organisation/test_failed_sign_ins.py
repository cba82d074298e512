"""Failures are counted by all, in a table with an end; auditors are told of all of them, in few events."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent, AuditPersonal
from guildhall.auth.actor import RequestContext, system_actor
from guildhall.auth.tables import FailedSignIn
from guildhall.auth.tokens import TokenUnknown
from guildhall.clock import SimulatedClock, new_id
from guildhall.organisation import failed_sign_ins as module
from guildhall.organisation.failed_sign_ins import (
    NAMED_MAX,
    SINGLY_IN_ALL_MAX,
    SINGLY_MAX,
    Count,
    Room,
    count_failure,
    failures_of,
    tell_of_minutes_past,
)

WHY = TokenUnknown("This token is not known here.")
HERE = "192.0.2.1"


async def fail(
    session: AsyncSession, at: datetime, address: str | None = HERE, *, times: int = 1, room: Room | None = None
) -> Count:
    room = room or Room()
    request = RequestContext(address=address, client="curl")
    for _ in range(times - 1):
        await count_failure(session, request, WHY, room=room, at=at, new_id=new_id)
    return await count_failure(session, request, WHY, room=room, at=at, new_id=new_id)


async def events(session: AsyncSession) -> list[AuditEvent]:
    return list(await session.scalars(select(AuditEvent).order_by(AuditEvent.id)))


async def counted(session: AsyncSession) -> dict[str, tuple[int, int, int]]:
    rows = await session.scalars(select(FailedSignIn).execution_options(populate_existing=True))
    return {row.address: (row.failures, row.recorded, row.unrecorded) for row in rows}


class TestCountFailure:
    async def test_the_first_stand_by_themselves(self, session: AsyncSession, clock: SimulatedClock) -> None:
        assert await fail(session, clock.now(), times=5) == Count(clock.now(), 5)
        told = await events(session)
        assert [(event.action, event.outcome, event.after) for event in told] == [
            ("guildhall:token:issue", "REFUSED", {"failures": number}) for number in range(1, SINGLY_MAX + 1)
        ]
        first = told[0]
        assert (first.actor_kind, first.actor_id) == ("SYSTEM", system_actor("sign-in").id)
        assert (first.reason_code, first.reason_message, first.client) == ("TOKEN_REFUSED", WHY.message, "curl")
        assert await counted(session) == {HERE: (5, 3, 2)}

    async def test_a_new_minute_counts_anew_and_forgets_nothing_untold(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        at = clock.now()
        await fail(session, at, times=5)
        assert await failures_of(session, HERE, at=at + timedelta(seconds=59)) == Count(at, 5)
        later = at + timedelta(minutes=1)
        assert await failures_of(session, HERE, at=later) is None
        assert await fail(session, later) == Count(later, 1)
        assert await counted(session) == {HERE: (1, 1, 2)}
        back = at - timedelta(hours=1)
        assert await failures_of(session, HERE, at=back) is None
        assert await fail(session, back) == Count(back, 1), "a clock that was set back locks nobody out"

    async def test_neighbours_and_nobody_in_particular(self, session: AsyncSession, clock: SimulatedClock) -> None:
        for address in ("2001:db8::1", "2001:db8::2", None, "nonsense"):
            await fail(session, clock.now(), address)
        assert {key: failures for key, (failures, _, _) in (await counted(session)).items()} == {
            "2001:db8::/64": 2, "": 2,
        }  # fmt: skip

    async def test_what_is_only_begun_is_counted_and_not_recorded(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        request = RequestContext(address=HERE)
        found = await count_failure(session, request, None, room=Room(), at=clock.now(), new_id=new_id)
        assert (found.failures, await events(session)) == (1, [])
        assert await counted(session) == {HERE: (1, 0, 0)}

    async def test_many_addresses_add_few_events(self, session: AsyncSession, clock: SimulatedClock) -> None:
        for number in range(40):
            await fail(session, clock.now(), f"192.0.2.{number}")
        assert len(await events(session)) == SINGLY_IN_ALL_MAX

    async def test_the_table_has_an_end(
        self, session: AsyncSession, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "ADDRESSES_MAX", 10)
        monkeypatch.setattr(module, "DISPLACED", 4)
        monkeypatch.setattr(module, "SINGLY_IN_ALL_MAX", 0)
        for number in range(11):
            await fail(session, clock.now() + timedelta(seconds=number), f"192.0.2.{number}", times=number + 1)
        assert list(await counted(session)) == [f"192.0.2.{number}" for number in range(4, 11)]
        (event,) = await events(session)
        assert event.after == {"failures": 1 + 2 + 3 + 4, "addresses": 4}

    async def test_a_process_counts_the_rows_at_few_of_many_addresses(
        self, session: AsyncSession, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "ADDRESSES_MAX", 4)
        monkeypatch.setattr(module, "DISPLACED", 5)
        monkeypatch.setattr(module, "LOOKED_EVERY", 5)
        room = Room()
        rows = []
        for number in range(16):
            at = clock.now() + timedelta(seconds=number)
            await fail(session, at, f"192.0.2.{number}", times=2, room=room)
            rows.append(len(await counted(session)))
        assert rows == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1]


class TestTellOfMinutesPast:
    async def test_one_event_tells_of_all_that_was_not_told(self, session: AsyncSession, clock: SimulatedClock) -> None:
        for number in range(1, NAMED_MAX + 10):
            await fail(session, clock.now(), f"192.0.2.{number}", times=SINGLY_MAX + 1)
        late = clock.now() + timedelta(seconds=30)
        await fail(session, late, "198.51.100.1", times=SINGLY_MAX + 1)
        singly = len(await events(session))
        await tell_of_minutes_past(session, at=clock.now() + timedelta(seconds=59), new_id=new_id)
        assert len(await events(session)) == singly, "no minute is over yet"
        await tell_of_minutes_past(session, at=clock.now() + timedelta(seconds=60), new_id=new_id)
        *_, event = await events(session)
        addresses = NAMED_MAX + 9
        assert event.after == {"failures": addresses * (SINGLY_MAX + 1) - SINGLY_IN_ALL_MAX, "addresses": addresses}
        kept = (await session.scalars(select(AuditPersonal.content).where(AuditPersonal.event_id == event.id))).one()
        assert kept is not None
        assert len(kept["addresses"]) == NAMED_MAX
        assert list(await counted(session)) == ["198.51.100.1"]

    async def test_of_nothing_nothing_is_told(self, session: AsyncSession, clock: SimulatedClock) -> None:
        await fail(session, clock.now())
        await tell_of_minutes_past(session, at=clock.now() + timedelta(hours=1), new_id=new_id)
        assert len(await events(session)) == 1
        assert await counted(session) == {}
