"""Bytes on their way out when access ends by something else than the one grant that the record names."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import Engine, event, select, update

from guildhall.auth.actor import Actor, TokenUse, system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import Token
from guildhall.clock import new_id
from guildhall.db.transaction import ReadSession
from guildhall.organisation.tokens import issue_token
from registry.access.jobs import JobInputs
from registry.access.reading import open_files
from registry.access.watching import ReadUnderWay
from registry.artifacts.tables import OwnerKind
from registry.datasets.tables import Classification, Dataset
from registry.http import sending
from registry.models.tables import Model
from tests.registry.estate import DAY
from tests.registry.house import House, trained_on
from tests.registry.http.conftest import Site
from tests.registry.http.reading import (
    address,
    close,
    get,
    grant_to_quality,
    packed,
    reads,
    stored,
    withdraw_grant,
    withdraw_role,
)
from tests.registry.loosening.loosened import loosened, withdrawn

BYTES = b"abc"


@asynccontextmanager
async def house_of(site: Site) -> AsyncIterator[House]:
    """The house in a transaction of its own."""
    async with site.estate.database.transaction() as session:
        site.estate.house.session = session
        yield site.estate.house


async def made_from(site: Site, sources: Sequence[UUID]) -> UUID:
    """A model version of Maintenance with one file, trained on these versions of data sets."""
    async with house_of(site) as house:
        made_id = await house.version(
            await house.model(), ready=False, sources=[trained_on(source) for source in sources]
        )
    await site.estate.send(made_id, "model.bin", BYTES)
    assert (await site.estate.complete(made_id, kind=OwnerKind.MODEL_VERSION)).missing == ()
    return made_id


@pytest.fixture
def held_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Until it is set, no more than the first byte of anything leaves."""
    monkeypatch.setattr(sending, "LOOKS_EVERY_SECONDS", 0.01)
    original, waiting = site.estate.store.read, asyncio.Event()

    def slow(key: str, *, start: int, end: int) -> Any:
        async def chunks() -> Any:
            async for chunk in original(key, start=start, end=end):
                yield chunk[:1]
                await waiting.wait()
                yield chunk[1:]

        return chunks()

    monkeypatch.setattr(site.estate.store, "read", slow)
    return waiting


@asynccontextmanager
async def under_way(site: Site, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """A download by Paul whose first byte has come."""
    async with site.client("paul") as client, client.stream("GET", url) as answer:
        received = answer.aiter_bytes()
        assert await anext(received) == BYTES[:1]
        yield received


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    """The statements that reach PostgreSQL meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def shown(site: Site, name: str) -> tuple[Actor, UUID]:
    """One of the people, who from now on shows a token."""
    actor, at = await site.still(site.estate.actor(name)), site.estate.clock.now()
    async with site.estate.database.transaction() as session:
        issued = await issue_token(
            session, system_actor("tests"), subject_kind=ActorKind.USER, subject_id=actor.id, label="tests",
            expires_at=at + timedelta(seconds=DAY), at=at, new_id=new_id,
        )  # fmt: skip
    site.jobs[name] = replace(actor, token=TokenUse(id=issued.id, last_used_at=at))
    return actor, issued.id


async def assert_cut(site: Site, received: AsyncIterator[bytes], held_back: asyncio.Event) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await anext(received)
    held_back.set()
    *_, outcome = await reads(site)
    assert (outcome.outcome, outcome.bytes, outcome.reason_code) == ("ABORTED", 1, "ACCESS_ENDED")


class TestByRole:
    async def test_a_model_is_cut_off_when_its_loosening_is_withdrawn(
        self, site: Site, held_back: asyncio.Event
    ) -> None:
        _, version_id = await stored(site)
        made_id = await made_from(site, [version_id])
        async with house_of(site) as house:
            loosening_id = await loosened(house, made_id)
        url = await address(site, made_id, "model.bin")
        async with under_way(site, url) as received:
            async with house_of(site) as house:
                await withdrawn(house, loosening_id)
            await assert_cut(site, received, held_back)
        assert (await get(site, url, by="paul")).status_code == 403

    async def test_data_is_cut_off_when_it_is_closed(self, site: Site, held_back: asyncio.Event) -> None:
        dataset_id, version_id = await stored(site, BYTES, classification=Classification.INTERNAL)
        async with under_way(site, await address(site, version_id)) as received:
            await close(site, dataset_id)
            await assert_cut(site, received, held_back)

    async def test_data_is_cut_off_when_the_role_is_withdrawn(self, site: Site, held_back: asyncio.Event) -> None:
        _, version_id = await stored(site, BYTES, classification=Classification.INTERNAL)
        async with under_way(site, await address(site, version_id)) as received:
            await withdraw_role(site, "paul")
            await assert_cut(site, received, held_back)

    async def test_what_others_lose_is_no_matter(
        self, site: Site, held_back: asyncio.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, version_id = await stored(site, BYTES, classification=Classification.INTERNAL)
        asked_of: list[Actor] = []
        before = (await site.still(site.estate.actor("paul"))).policy.version
        original = ReadUnderWay.may_go_on_for

        async def watched(self: ReadUnderWay, session: ReadSession, actor: Actor, *, at: datetime) -> bool:
            going_on = await original(self, session, actor, at=at)
            asked_of.append(actor)
            return going_on

        monkeypatch.setattr(ReadUnderWay, "may_go_on_for", watched)
        async with under_way(site, await address(site, version_id)) as received:
            await withdraw_role(site, "vera")
            async with asyncio.timeout(120):
                while not asked_of:
                    await asyncio.sleep(0.01)
            held_back.set()
            assert b"".join([chunk async for chunk in received]) == BYTES[1:]
        assert asked_of[0].policy.version > before
        *_, outcome = await reads(site)
        assert outcome.outcome == "COMPLETED"

    async def test_a_package_is_cut_off_when_the_role_is_withdrawn(self, site: Site, held_back: asyncio.Event) -> None:
        package_id = await packed(site, BYTES)
        async with under_way(site, await address(site, package_id, "package.tar.gz")) as received:
            await withdraw_role(site, "paul")
            await assert_cut(site, received, held_back)

    async def test_open_data_is_cut_off_when_the_token_is_withdrawn(self, site: Site, held_back: asyncio.Event) -> None:
        _, version_id = await stored(site, BYTES, classification=Classification.PUBLIC)
        paul, token_id = await shown(site, "paul")
        async with under_way(site, await address(site, version_id)) as received:
            site.gone.add(paul.id)
            async with site.estate.database.transaction() as session:
                await session.execute(update(Token).filter_by(id=token_id).values(revoked_at=site.estate.clock.now()))
            await assert_cut(site, received, held_back)


class TestSeveralGrants:
    @pytest.mark.parametrize("first_to_end", [True, False])
    async def test_a_model_is_cut_off_when_any_of_them_is_withdrawn(
        self, site: Site, held_back: asyncio.Event, *, first_to_end: bool
    ) -> None:
        sources = [await stored(site, name=name) for name in ("gauge-digits", "gauge-dials")]
        made_id = await made_from(site, [version_id for _, version_id in sources])
        grants = {
            ends_first: await grant_to_quality(site, dataset_id, seconds=DAY if ends_first else 2 * DAY)
            for ends_first, (dataset_id, _) in zip((True, False), sources, strict=True)
        }
        async with under_way(site, await address(site, made_id, "model.bin")) as received:
            await withdraw_grant(site, grants[first_to_end])
            await assert_cut(site, received, held_back)
        intent, _ = await reads(site)
        assert intent.access_grant_id == grants[True]


class TestOpenData:
    @pytest.mark.parametrize("kind", [Dataset, Model])
    async def test_of_a_team_alone_is_cut_off_when_it_goes_to_another(
        self, site: Site, kind: type[Dataset] | type[Model]
    ) -> None:
        _, version_id = await stored(site, classification=Classification.INTERNAL)
        owner_id, path = (
            (version_id, "a.bin") if kind is Dataset else (await made_from(site, [version_id]), "model.bin")
        )
        artifact, paul = await site.estate.artifact(owner_id, path), await site.still(site.estate.actor("paul"))
        at, inputs = site.estate.clock.now(), JobInputs(site.find_input, site.note_opening)

        async def goes_to(team: str) -> None:
            async with house_of(site) as house:
                await house.session.execute(update(kind).values(team_id=house.teams[team], visibility="TEAM"))

        await goes_to("quality")
        async with site.estate.database.read() as session:
            (file,) = await open_files(session, paul, [artifact.id], job_inputs=inputs, at=at)
            reading = ReadUnderWay(paul, file, inputs)
            assert await reading.may_go_on(session, at=at)
        await goes_to("maintenance")
        async with site.estate.database.read() as session:
            assert await reading.may_go_on(session, at=at) is False

    async def test_is_decided_about_anew_only_when_something_was_said_anew(self, site: Site) -> None:
        dataset_id, version_id = await stored(site, classification=Classification.INTERNAL)
        artifact, paul = await site.estate.artifact(version_id, "a.bin"), site.estate.actor("paul")
        engine, at, costs = site.estate.database.engine.sync_engine, site.estate.clock.now(), []
        inputs = JobInputs(site.find_input, site.note_opening)
        async with site.estate.database.read() as session:
            (file,) = await open_files(session, paul, [artifact.id], job_inputs=inputs, at=at)
        reading = ReadUnderWay(await site.still(paul), file, inputs)
        for classification in ("INTERNAL", "INTERNAL", "PUBLIC", "PUBLIC"):
            async with site.estate.database.transaction() as session:
                await session.execute(update(Dataset).filter_by(id=dataset_id).values(classification=classification))
            async with site.estate.database.read() as session:
                await session.execute(select(1))
                with counted(engine) as statements:
                    assert await reading.may_go_on(session, at=at)
            costs.append(len(statements))
        decided = costs[0]
        assert decided > 1
        assert costs == [decided, 1, decided, 1]
