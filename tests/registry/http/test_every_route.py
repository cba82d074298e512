"""Every address of the application has a rule here: no data leaves by it, or all that holds for data that leaves holds.

A new route without one fails, and so does a way in front of the routes that this page does not know.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from guildhall.app import Application
from guildhall.audit.tables import AuditEvent, AuditPersonal
from guildhall.clock import new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from guildhall.http.graphql import GraphQLEndpoint
from guildhall.http.hot_path import GRAPHQL_PATH, HotPath
from guildhall.http.websocket import GraphQLSockets
from registry.http import sending
from registry.volume.tables import ReadCounter
from tests.house import House
from tests.registry.estate import Estate
from tests.registry.http.conftest import Site
from tests.registry.http.reading import grant_to_quality, reads, reads_now, withdraw_grant, withdraw_role
from tests.registry.http.test_bulk_reads import limit
from tests.registry.http.test_previews import preview
from tests.registry.http.test_withdrawn_meanwhile import run_before
from tests.waiting import PATIENCE_SECONDS

DATA = "bytes of data leave"
RULES: dict[str, tuple[int, str]] = {
    "GET /artifacts/{artifact_id:uuid}": (401, DATA),
    "HEAD /artifacts/{artifact_id:uuid}": (401, "decided as the bytes are, but none leave: their size and digest"),
    "GET /artifacts/{artifact_id:uuid}/preview": (401, DATA),
    "POST /artifacts/bundle": (401, DATA),
    "GET /artifacts/uploads/bundle": (401, "which files have arrived, for who holds the ticket of the announcement"),
    "PUT /artifacts/uploads/bundle": (401, "bytes come"),
    "GET /artifacts/uploads/{artifact_id:uuid}": (401, "which parts have arrived, for who holds the ticket"),
    "PUT /artifacts/uploads/{artifact_id:uuid}": (401, "bytes come"),
    "GET /audit/log/checkpoint": (404, "a signed head; nothing has been sealed here yet"),
    "GET /audit/log/tile/{path:path}": (404, "hashes"),
    "GET /audit/report": (401, "events, for auditors; itself an event"),
    "GET /auth/callback": (401, "signing in"),
    "GET /auth/login": (303, "signing in"),
    "POST /auth/logout": (200, "signing out"),
    "POST /auth/logout-everywhere": (401, "signing out"),
    "GET /auth/settings": (200, "how to sign in"),
    "GET /": (200, "the page that a browser lands on"),
    "GET /graphql/assets/{digest:str}/{name:str}": (404, "files of the page that browsers explore the schema with"),
    "GET /healthz": (200, "whether the process lives"),
    "GET /readyz": (200, "whether the process serves"),
    "GET /metrics": (200, "figures of the process"),
    "GET /runner/v1/archive": (401, "the runner's own program"),
    "GET /runner/v1/assignment": (401, "what a job was submitted with, to its runner"),
    "POST /runner/v1/inputs/{index:int}/open": (401, "addresses of files, decided; the bytes go by /artifacts"),
    "POST /runner/v1/started": (401, "a report"),
    "POST /runner/v1/reports": (401, "a report"),
    "POST /runner/v1/outputs": (401, "addresses to send files to"),
    "POST /runner/v1/outputs/complete": (401, "which files have arrived"),
    "POST /runner/v1/result": (401, "a report"),
}
"""What each answers to nobody, and what leaves by it. GraphQL, in front of these, answers with records alone."""
CSV = b"id,name\n1,Ada\n2,Bob\n"
UNWRITABLE = {
    "privilege": (
        "REVOKE INSERT ON audit_events FROM guildhall_service", "GRANT INSERT ON audit_events TO guildhall_service"
    ),
    "partition": (
        "ALTER TABLE audit_events DETACH PARTITION audit_events_default",
        "ALTER TABLE audit_events ATTACH PARTITION audit_events_default DEFAULT",
    ),
}  # fmt: skip
"""Ways in which the record cannot be written, and back."""
WAYS = sorted(name for name, (_, leaves) in RULES.items() if leaves == DATA)


def behind(asgi: object) -> Iterator[object]:
    """An ASGI application, and what it passes calls on to."""
    yield asgi
    if not isinstance(asgi, Litestar | GraphQLEndpoint | GraphQLSockets):
        for part in vars(asgi).values():
            call = vars(type(part)).get("__call__")
            if inspect.isfunction(call) and [*inspect.signature(call).parameters] == [
                "self",
                "scope",
                "receive",
                "send",
            ]:
                yield from behind(part)


@pytest.fixture
def house(fresh_database: Database, tmp_path: Path) -> House:
    return House(fresh_database, tmp_path)


class TestEveryRoute:
    async def test_has_a_rule(self, house: House) -> None:
        (routes,) = [part for part in behind(house.app) if isinstance(part, Litestar)]
        assert {type(route) for route in routes.routes} == {HTTPRoute}
        found = {
            f"{method} {route.path}"
            for route in routes.routes
            if isinstance(route, HTTPRoute)
            for method in route.methods
            if method != "OPTIONS"
        }
        assert found == set(RULES)

    def test_nothing_in_front_of_them_answers_but_graphql(self, house: House) -> None:
        assert isinstance(house.app, Application)
        parts = [type(part) for part in behind(house.app)]
        front = parts.index(HotPath)
        assert parts[front + 1 :] == [GraphQLEndpoint, GraphQLSockets, Litestar]
        assert [kind.__name__ for kind in parts[:front]] == ["Application", "BehindProxies", "Watch"]
        assert GRAPHQL_PATH == "/graphql"

    async def test_tells_nobody_more_than_its_rule_says(self, house: House) -> None:
        values = {"artifact_id": new_id(), "path": "0/000", "digest": "d", "name": "n", "index": 0}
        told = {}
        async with house.browser() as browser:
            for name in RULES:
                method, _, path = name.partition(" ")
                for parameter, value in values.items():
                    for kind in ("uuid", "path", "str", "int"):
                        path = path.replace(f"{{{parameter}:{kind}}}", str(value))
                told[name] = (await browser.request(method, path)).status_code
        assert told == {name: status for name, (status, _) in RULES.items()}


class TestTheRecord:
    @pytest.mark.parametrize("way", WAYS)
    async def test_says_from_where_and_by_what_it_was_asked_in_which_request(
        self, estate: Estate, tmp_path: Path, way: str
    ) -> None:
        version_id = await estate.stored(await estate.dataset(), {"a.csv": CSV})
        artifact = await estate.artifact(version_id, "a.csv")
        house = House(estate.database, tmp_path)
        method, _, path = way.partition(" ")
        headers = {"authorization": f"Bearer {await house.token_of('stranger')}", "x-request-id": "r-1"}
        async with house.browser("198.51.100.7") as browser:
            answer = await browser.request(
                method, path.replace("{artifact_id:uuid}", str(artifact.id)), headers=headers,
                json={"files": [str(artifact.id)]} if method == "POST" else None,
            )  # fmt: skip
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ACCESS_REFUSED")
        (event,) = [each for each in await estate.rows(AuditEvent) if each.outcome == "REFUSED"]
        assert (event.request_id, event.client, event.actor_kind) == ("r-1", "A browser", "USER")
        (said,) = [each for each in await estate.rows(AuditPersonal) if each.event_id == event.id]
        assert (said.person_id, said.content) == (event.actor_id, {"address": "198.51.100.7"})


class Gate:
    """Has the store give nothing until it is opened."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        read, get = site.estate.store.read, site.estate.store.get

        async def held_read(key: str, *, start: int, end: int) -> AsyncIterator[bytes]:
            await self._wait()
            async for chunk in read(key, start=start, end=end):
                yield chunk

        async def held_get(key: str) -> bytes:
            await self._wait()
            return await get(key)

        monkeypatch.setattr(site.estate.store, "read", held_read)
        monkeypatch.setattr(site.estate.store, "get", held_get)
        monkeypatch.setattr(sending, "LOOKS_EVERY_SECONDS", 0.01)

    async def _wait(self) -> None:
        self.reached.set()
        await self.open.wait()


class Way:
    """A file of closed data that Quality may read, asked for by one of the ways by which bytes leave."""

    def __init__(self, site: Site, way: str, dataset_id: UUID, grant_id: UUID, artifact_id: UUID) -> None:
        self.site, self.dataset_id, self.grant_id = site, dataset_id, grant_id
        self.method, _, path = way.partition(" ")
        self.path = path.replace("{artifact_id:uuid}", str(artifact_id))
        self.body = {"files": [str(artifact_id)]} if self.method == "POST" else None

    async def ask(self, by: str) -> httpx.Response:
        async with self.site.client(by) as client:
            return await client.request(self.method, self.path, json=self.body)

    @asynccontextmanager
    async def under_way(self, gate: Gate) -> AsyncIterator["asyncio.Future[httpx.Response]"]:
        """Asked for by Paul, when the store is about to give the first bytes."""
        asking = asyncio.ensure_future(self.ask("paul"))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await gate.reached.wait()
            yield asking
        finally:
            gate.open.set()
            await asyncio.gather(asking, return_exceptions=True)


@pytest.fixture(params=WAYS)
async def way(site: Site, request: pytest.FixtureRequest) -> Way:
    dataset_id = await site.estate.dataset()
    version_id = await site.estate.stored(dataset_id, {"a.csv": CSV})
    grant_id = await grant_to_quality(site, dataset_id)
    artifact = await site.estate.artifact(version_id, "a.csv")
    if "preview" in request.param:  # made once, so that it need not be waited for again
        await preview(site, version_id, "a.csv", by="carl")
    return Way(site, request.param, dataset_id, grant_id, artifact.id)


async def outcomes(site: Site) -> list[tuple[str, str | None]]:
    paul = site.estate.house.people["paul"]
    return [(event.outcome, event.reason_code) for event in await reads(site) if event.actor_id == paul]


class TestBytesOfData:
    """What holds for each way by which they leave."""

    async def test_go_to_those_alone_who_may_read(self, way: Way) -> None:
        await withdraw_grant(way.site, way.grant_id)
        answer = await way.ask("paul")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ACCESS_REFUSED")
        assert await outcomes(way.site) == [("REFUSED", "ACCESS_REFUSED")]

    async def test_are_announced_before_the_first_and_concluded_after_the_last(
        self, way: Way, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = Gate(way.site, monkeypatch)
        async with way.under_way(gate) as asking:
            assert [event.outcome for event in await reads_now(way.site)][-1] == "STARTED"
            gate.open.set()
            assert (await asking).status_code == 200
        assert await outcomes(way.site) == [("STARTED", None), ("COMPLETED", None)]

    @pytest.mark.parametrize("fault", ["privilege", "partition"])
    async def test_do_not_leave_where_the_intent_cannot_be_written(
        self, way: Way, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, fault: str
    ) -> None:
        breaking, mending = UNWRITABLE[fault]
        asked: list[str] = []
        read, get = way.site.estate.store.read, way.site.estate.store.get

        def noted_read(key: str, *, start: int, end: int) -> AsyncIterator[bytes]:
            asked.append(key)
            return read(key, start=start, end=end)

        async def noted_get(key: str) -> bytes:
            asked.append(key)
            return await get(key)

        monkeypatch.setattr(way.site.estate.store, "read", noted_read)
        monkeypatch.setattr(way.site.estate.store, "get", noted_get)
        assert await outcomes(way.site) == [], "what others read is concluded before nothing can be written"
        name = str(way.site.estate.database.engine.url.database)
        connection = await server.connect(database=name)
        try:
            await connection.execute(breaking)
            try:
                answer = await way.ask("paul")
            finally:
                await connection.execute(mending)
        finally:
            await connection.close()
        assert answer.status_code == 500
        assert not any(line in answer.content for line in CSV.splitlines())
        assert (asked, await outcomes(way.site)) == ([], [])
        paul = way.site.estate.house.people["paul"]
        assert [row for row in await way.site.estate.rows(ReadCounter) if row.subject_id == paul] == []
        assert (await way.ask("paul")).status_code == 200
        assert await outcomes(way.site) == [("STARTED", None), ("COMPLETED", None)]

    async def test_count_against_budgets(self, way: Way) -> None:
        await limit(way.site, way.dataset_id, bytes_max=1)
        answer = await way.ask("paul")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "READ_BUDGET_CROSSED")
        assert await outcomes(way.site) == [("REFUSED", "READ_BUDGET_CROSSED")]
        await limit(way.site, way.dataset_id, bytes_max=1_000_000)
        assert (await way.ask("paul")).status_code == 200
        paul = way.site.estate.house.people["paul"]
        mine = [row for row in await way.site.estate.rows(ReadCounter) if row.subject_id == paul]
        assert [row.bytes > 0 for row in mine] == [True]

    async def test_are_decided_about_in_the_transaction_of_the_intent(
        self, way: Way, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_before(monkeypatch, "open_again", lambda: withdraw_role(way.site, "paul"))
        answer = await way.ask("paul")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ACCESS_REFUSED")
        assert await outcomes(way.site) == [("REFUSED", "ACCESS_REFUSED")]

    async def test_stop_leaving_when_access_is_withdrawn(self, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
        gate = Gate(way.site, monkeypatch)
        async with way.under_way(gate) as asking:
            await withdraw_grant(way.site, way.grant_id)
            answer = await asking
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ACCESS_ENDED")
        assert await outcomes(way.site) == [("STARTED", None), ("ABORTED", "ACCESS_ENDED")]
