"""Notices: what the organisation is told, when, and what happens when nobody takes it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from guildhall.clock import new_id
from guildhall.outbox.tables import OutboxRow
from registry.access.withdrawal import withdraw_access
from registry.notices.queue import WARNED_BEFORE, NoticeKind, notify, warned_at
from registry.notices.sending import send_notices
from registry.volume.tables import AccessAlert, BudgetAction
from tests.registry.estate import DAY, Estate, dataset_ref, granted, registered


class Address:
    """The organisation's address, which answers as it is told."""

    def __init__(self, status: int = 204) -> None:
        self.status = status
        self.taken: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.status == 0:
            raise httpx.ConnectError("nobody there")
        self.taken.append(json.loads(request.content))
        return httpx.Response(self.status)


async def send(estate: Estate, address: Address, url: str = "http://notices.example/") -> int:
    return await send_notices(
        estate.database,
        url,
        owner="test",
        clock=estate.clock,
        new_id=new_id,
        transport=httpx.MockTransport(address),
    )


async def grant(estate: Estate, **given: Any) -> tuple[UUID, UUID]:
    async with estate.database.transaction() as session:
        estate.house.session = session
        dataset_id = await registered(estate.house)
        return dataset_id, await granted(estate.house, [dataset_ref(dataset_id)], **given)


def test_long_grants_are_told_of_a_week_before_short_ones_at_half_of_their_time() -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    assert warned_at(start, start + timedelta(days=90)) == start + timedelta(days=83)
    assert warned_at(start, start + timedelta(days=1)) == start + timedelta(hours=12)
    assert timedelta(days=7) == WARNED_BEFORE


class TestEnding:
    async def test_is_told_in_time_and_once(self, estate: Estate) -> None:
        dataset_id, grant_id = await grant(estate, seconds=30 * DAY)
        address = Address()
        assert await send(estate, address) == 0
        estate.clock.advance(seconds=23 * DAY)
        assert (await send(estate, address), await send(estate, address)) == (1, 0)
        (notice,) = address.taken
        assert {name: notice[name] for name in ("kind", "accessGrantId", "purpose", "resourceIds", "personId")} == {
            "kind": "ACCESS_ENDS",
            "accessGrantId": str(grant_id),
            "purpose": "quality",
            "resourceIds": [str(dataset_id)],
            "personId": None,
        }
        assert notice["message"] == "This access ends at 2026-04-01 08:00 UTC; ask with requestAccess to renew it."

    async def test_what_has_ended_already_is_not(self, estate: Estate) -> None:
        _, grant_id = await grant(estate)
        async with estate.database.transaction() as session:
            mia, at = estate.actor("mia"), estate.clock.now()
            await withdraw_access(session, mia, access_grant_id=grant_id, reason="Over.", at=at, new_id=new_id)
        estate.clock.advance(seconds=DAY / 2)
        address = Address()
        assert (await send(estate, address), address.taken) == (1, [])


class TestTrouble:
    @pytest.mark.parametrize(
        ("status", "error"), [(500, "the address answered 500"), (0, "ConnectError: nobody there")]
    )
    async def test_it_is_tried_again_as_the_same_notice(self, estate: Estate, status: int, error: str) -> None:
        await grant(estate)
        estate.clock.advance(seconds=DAY / 2)
        address = Address(status)
        await send(estate, address)
        (row,) = await estate.rows(OutboxRow)
        assert (row.done_at, row.last_error) == (None, error)
        before, address.status = list(address.taken), 200
        estate.clock.advance(seconds=60)
        await send(estate, address)
        assert [notice["id"] for notice in address.taken] == [str(row.id)] * (len(before) + 1)
        (row,) = await estate.rows(OutboxRow)
        assert row.done_at is not None

    async def test_without_an_address_it_is_done_with(self, estate: Estate) -> None:
        await grant(estate)
        estate.clock.advance(seconds=DAY / 2)
        address = Address()
        assert (await send(estate, address, ""), address.taken) == (1, [])


async def test_an_alert_says_what_was_unusual(estate: Estate) -> None:
    dataset_id, _ = await grant(estate)
    at, alert_id = estate.clock.now(), new_id()
    async with estate.database.transaction() as session:
        session.add(
            AccessAlert(
                id=alert_id, dataset_id=dataset_id, scope="PERSON", subject_id=estate.house.people["paul"],
                window_seconds=DAY, window_start=at, action=BudgetAction.WARN, user_id=estate.house.people["paul"],
                rows=5, bytes=5, message="Paul read much.", raised_at=at,
            )
        )  # fmt: skip
        await session.flush()
        await notify(session, NoticeKind.ACCESS_ALERT, alert_id, at=at, new_id=new_id)
    address = Address()
    await send(estate, address)
    (notice,) = address.taken
    assert (notice["alertId"], notice["personId"], notice["action"], notice["message"]) == (
        str(alert_id),
        str(estate.house.people["paul"]),
        "WARN",
        "Paul read much.",
    )
