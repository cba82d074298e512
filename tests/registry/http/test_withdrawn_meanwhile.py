"""A withdrawal between the decision and the intent, forced in at the line: it refuses, or it comes after the intent."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from guildhall.auth import standing
from guildhall.auth.actor import Actor
from guildhall.clock import new_id
from registry.artifacts.tables import OwnerKind
from registry.datasets.changing import update_legal_record
from registry.datasets.tables import Classification
from registry.http import sending
from registry.http.desk import STATE_KEY
from registry.leaving.departure import Departure
from tests.registry.estate import DAY, LEGAL
from tests.registry.house import trained_on
from tests.registry.http.conftest import Site
from tests.registry.http.reading import (
    CONTENT,
    address,
    close,
    get,
    grant_to_quality,
    reads,
    stored,
    withdraw_grant,
    withdraw_role,
)
from tests.registry.leaving.test_departure import governed, leave
from tests.registry.loosening.loosened import loosened, withdrawn
from tests.waiting import ALONE, PATIENCE_SECONDS, until_one_waits

Rival = Callable[[], Awaitable[None]]


def run_before(monkeypatch: pytest.MonkeyPatch, name: str, *rivals: Rival) -> list[str]:
    """Have each of these run to its end right before one call of what `sending` calls so; each call is noted.

    However slow the machine is, the read outlasts them.
    """
    monkeypatch.setattr(standing, "STILL_SECONDS_MAX", PATIENCE_SECONDS)
    monkeypatch.setattr(standing, "HELD_SECONDS_MAX", PATIENCE_SECONDS)
    left, calls = list(rivals), []
    original = getattr(sending, name)

    async def guarded(*given: Any, **named: Any) -> Any:
        calls.append(name)
        if left:
            await left.pop(0)()
        return await original(*given, **named)

    monkeypatch.setattr(sending, name, guarded)
    return calls


@dataclass
class Withdrawal:
    """A way to take access away, and the address of what it opened for Paul."""

    url: str
    withdraw: Rival
    reason: str


async def of_role(site: Site) -> Withdrawal:
    _, version_id = await stored(site, classification=Classification.INTERNAL)
    return Withdrawal(await address(site, version_id), lambda: withdraw_role(site, "paul"), "ROLE_REQUIRED")


async def of_role_above_a_grant(site: Site) -> Withdrawal:
    dataset_id, version_id = await stored(site)
    await grant_to_quality(site, dataset_id)
    return Withdrawal(await address(site, version_id), lambda: withdraw_role(site, "paul"), "ACCESS_GRANT_REQUIRED")


async def of_grant(site: Site) -> Withdrawal:
    dataset_id, version_id = await stored(site)
    grant_id = await grant_to_quality(site, dataset_id)
    return Withdrawal(await address(site, version_id), lambda: withdraw_grant(site, grant_id), "ACCESS_GRANT_ENDED")


async def of_two(site: Site) -> tuple[UUID, list[UUID]]:
    """A model that was made from two data sets."""
    sources = [await stored(site, name=name) for name in ("gauge-digits", "gauge-dials")]
    estate = site.estate
    async with estate.database.transaction() as session:
        estate.house.session = session
        edges = [trained_on(version_id) for _, version_id in sources]
        made_id = await estate.house.version(await estate.house.model(), ready=False, sources=edges)
    await estate.send(made_id, "model.bin", b"abc")
    assert (await estate.complete(made_id, kind=OwnerKind.MODEL_VERSION)).missing == ()
    return made_id, [dataset_id for dataset_id, _ in sources]


async def of_second_grant(site: Site) -> Withdrawal:
    """Of a model of two sources: of the grants that open it, the one that the record does not name."""
    made_id, (first, second) = await of_two(site)
    await grant_to_quality(site, first, seconds=DAY)
    last = await grant_to_quality(site, second, seconds=2 * DAY)
    url = await address(site, made_id, "model.bin")
    return Withdrawal(url, lambda: withdraw_grant(site, last), "SOURCES_NOT_GRANTED")


async def of_openness(site: Site) -> Withdrawal:
    dataset_id, version_id = await stored(site, classification=Classification.INTERNAL)
    return Withdrawal(await address(site, version_id), lambda: close(site, dataset_id), "ACCESS_GRANT_REQUIRED")


async def narrow(site: Site, dataset_id: UUID, *regions: str) -> None:
    """From now on the data is stricter than it was when stewards decided about it."""
    estate = site.estate
    async with estate.database.transaction() as session:
        await update_legal_record(
            session, estate.actor("mia"), dataset_id=dataset_id, classification=None,
            legal=replace(LEGAL, regions=regions), at=estate.clock.now(), new_id=new_id,
        )  # fmt: skip


async def of_loosened_source(site: Site) -> tuple[str, UUID, UUID]:
    """The address of a model of two sources: the first is loosened, the second no more, and open to Paul by a grant.

    What the model inherits, it inherits from the second alone: without the loosening that stays as it is.
    """
    made_id, (first, second) = await of_two(site)
    async with site.estate.database.transaction() as session:
        site.estate.house.session = session
        loosening_id = await loosened(site.estate.house, made_id)
    await narrow(site, second, "de")
    await grant_to_quality(site, second)
    return await address(site, made_id, "model.bin"), loosening_id, first


async def of_loosening(site: Site) -> Withdrawal:
    url, loosening_id, _ = await of_loosened_source(site)

    async def withdraw() -> None:
        async with site.estate.database.transaction() as session:
            site.estate.house.session = session
            await withdrawn(site.estate.house, loosening_id)

    return Withdrawal(url, withdraw, "SOURCES_NOT_GRANTED")


async def of_regions(site: Site) -> Withdrawal:
    url, _, first = await of_loosened_source(site)
    return Withdrawal(url, lambda: narrow(site, first, "de"), "SOURCES_NOT_GRANTED")


WITHDRAWALS = (
    of_role,
    of_role_above_a_grant,
    of_grant,
    of_second_grant,
    of_openness,
    of_loosening,
    of_regions,
)


@pytest.mark.parametrize("make", WITHDRAWALS)
class TestBetweenDecisionAndIntent:
    async def test_what_was_committed_before_refuses(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, make: Callable[[Site], Awaitable[Withdrawal]]
    ) -> None:
        withdrawal = await make(site)
        run_before(monkeypatch, "open_again", withdrawal.withdraw)
        answer = await get(site, withdrawal.url, by="paul")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, withdrawal.reason)
        assert [event.outcome for event in await reads(site)] == ["REFUSED"]

    async def test_what_comes_after_the_decision_waits_for_the_intent(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, make: Callable[[Site], Awaitable[Withdrawal]]
    ) -> None:
        withdrawal = await make(site)
        rivals: list[asyncio.Future[None]] = []

        async def begin() -> None:
            rivals.append(asyncio.ensure_future(withdrawal.withdraw()))
            await until_one_waits(site.estate.database)
            assert not rivals[0].done()

        run_before(monkeypatch, "record_intent", begin)
        assert (await get(site, withdrawal.url, by="paul")).status_code == 200
        await rivals[0]
        assert [event.outcome for event in await reads(site)] == ["STARTED", "COMPLETED"]
        refused = await get(site, withdrawal.url, by="paul")
        assert (refused.status_code, refused.json()["error"]["reason"]) == (403, withdrawal.reason)


class TestWhileItWaits:
    async def test_a_grant_that_ends_by_itself_opens_nothing(self, site: Site) -> None:
        """The read waits for somebody's withdrawal; when it comes to its turn it is decided for that moment."""
        dataset_id, version_id = await stored(site)
        await grant_to_quality(site, dataset_id, seconds=DAY)
        url = await address(site, version_id)
        async with site.estate.database.transaction() as withdrawing:
            await withdrawing.execute(ALONE)
            asking = asyncio.ensure_future(get(site, url, by="paul"))
            await until_one_waits(site.estate.database)
            site.estate.clock.advance(seconds=DAY)
        answer = await asking
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "ACCESS_GRANT_ENDED")
        assert [event.outcome for event in await reads(site)] == ["REFUSED"]


class TestDeparture:
    async def test_of_a_reader_waits_for_the_read_and_is_not_in_its_way(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made_id, datasets = await of_two(site)
        estate = site.estate
        for days, dataset_id in enumerate(datasets, start=1):
            await grant_to_quality(site, dataset_id, seconds=days * DAY, email="paul@example.org")
        async with estate.database.transaction() as session:
            estate.house.session = session
            await governed(estate.house)
        departures: list[asyncio.Future[Departure]] = []

        async def depart() -> Departure:
            async with estate.database.transaction() as session:
                estate.house.session = session
                return await leave(estate.house, "paul")

        async def begin() -> None:
            departures.append(asyncio.ensure_future(depart()))
            await until_one_waits(estate.database)
            assert not departures[0].done()

        run_before(monkeypatch, "record_intent", begin)
        url = await address(site, made_id, "model.bin")
        assert (await get(site, url, by="paul")).status_code == 200
        assert len((await departures[0]).access_grants) == 2
        assert [event.outcome for event in await reads(site)] == ["STARTED", "COMPLETED"]
        assert (await get(site, url, by="paul")).status_code == 404


class TestDecidedAnew:
    async def test_when_somebody_else_lost_a_role(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, version_id = await stored(site, classification=Classification.INTERNAL)
        decided = run_before(monkeypatch, "open_again", lambda: withdraw_role(site, "vera"))
        assert (await get(site, await address(site, version_id), by="paul")).content == CONTENT
        assert len(decided) == 2
        assert [event.outcome for event in await reads(site)] == ["STARTED", "COMPLETED"]

    async def test_at_once_under_another_grant(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        dataset_id, version_id = await stored(site)
        second = await grant_to_quality(site, dataset_id)
        first = await grant_to_quality(site, dataset_id, seconds=2 * DAY)
        decided = run_before(monkeypatch, "open_again", lambda: withdraw_grant(site, first))
        assert (await get(site, await address(site, version_id), by="paul")).content == CONTENT
        assert len(decided) == 1
        assert {event.access_grant_id for event in await reads(site)} == {second}

    async def test_no_more_often_than_is_said(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, version_id = await stored(site, classification=Classification.INTERNAL)
        asked: list[Actor] = []

        async def never_still(actor: Actor) -> Actor:
            asked.append(actor)
            return site.estate.actor("paul")  # with the roles of before

        desk = site.state[STATE_KEY]
        monkeypatch.setitem(site.state, STATE_KEY, replace(desk, still=never_still))
        run_before(monkeypatch, "open_again", lambda: withdraw_role(site, "vera"))
        answer = await get(site, await address(site, version_id), by="paul")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ACCESS_CHANGED")
        assert len(asked) == sending.DECISIONS_MAX
        assert await reads(site) == []

    async def test_for_nobody_whose_token_was_withdrawn(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, version_id = await stored(site, classification=Classification.PUBLIC)

        async def leave() -> None:
            await withdraw_role(site, "paul")
            site.gone.add(site.estate.house.people["paul"])

        run_before(monkeypatch, "open_again", leave)
        answer = await get(site, await address(site, version_id), by="paul")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "TOKEN_REFUSED")
        assert await reads(site) == []
