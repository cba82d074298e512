"""Downloads over HTTP: decided at the moment, announced before the first byte, concluded with what really left."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from guildhall.clock import new_id
from registry.access.reading import OpenedFile, open_files
from registry.access.tables import AccessGrant
from registry.access.withdrawal import withdraw_access
from registry.artifacts.completing import blob_key
from registry.artifacts.receiving import find_upload, receive_part
from registry.datasets.tables import Classification, Dataset, Visibility
from registry.http import sending
from registry.storage import ArtifactStoreUnavailable
from tests.registry.estate import RETENTION, chunked, digest, spec
from tests.registry.http.conftest import Site
from tests.registry.http.reading import ASK, CONTENT, address, get, grant_to_quality, reads, reads_now, stored


class TestGet:
    async def test_the_whole_file_and_its_two_events(self, site: Site) -> None:
        dataset_id, version_id = await stored(site)
        answer = await get(site, await address(site, version_id))
        assert (answer.status_code, answer.content) == (200, CONTENT)
        assert {name: answer.headers[name] for name in WHOLE_HEADERS} == WHOLE_HEADERS
        intent, outcome = await reads(site)
        (own,) = await site.estate.rows(AccessGrant)
        assert (intent.outcome, outcome.outcome, outcome.concludes_id) == ("STARTED", "COMPLETED", intent.id)
        for event in (intent, outcome):
            assert event.action == "registry:dataset:read"
            assert event.actor_id == site.estate.house.people["carl"]
            assert event.team_id == site.estate.house.teams["maintenance"]
            assert event.resource_types == ["DatasetVersion", "Dataset", "Artifact"]
            assert event.resource_ids[:2] == [version_id, dataset_id]
            assert event.access_grant_id == own.id
            assert event.justification == "The owning team registered the data set."
            assert (event.rows, event.bytes) == (3, 2500)

    async def test_the_announcement_is_committed_before_the_first_byte(self, site: Site) -> None:
        """A rival reads the record while the store has not yet given a single byte."""
        _, version_id = await stored(site)
        seen: list[str] = []
        original = site.estate.store.read

        def watched(key: str, *, start: int, end: int) -> Any:
            async def chunks() -> Any:
                seen.extend(event.outcome for event in await reads_now(site))
                async for chunk in original(key, start=start, end=end):
                    yield chunk

            return chunks()

        site.estate.store.read = watched  # type: ignore[method-assign]
        await get(site, await address(site, version_id))
        assert seen == ["STARTED"]

    async def test_an_empty_file(self, site: Site) -> None:
        _, version_id = await stored(site, b"")
        answer = await get(site, await address(site, version_id))
        assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
        assert [event.outcome for event in await reads(site)] == ["STARTED", "COMPLETED"]

    @pytest.mark.parametrize(
        ("asked", "want", "content_range"),
        [
            ("bytes=0-9", CONTENT[:10], "bytes 0-9/2500"),
            ("bytes=1000-", CONTENT[1000:], "bytes 1000-2499/2500"),
            ("bytes=-1", CONTENT[-1:], "bytes 2499-2499/2500"),
        ],
    )
    async def test_a_range_is_recorded_with_its_own_size(
        self, site: Site, asked: str, want: bytes, content_range: str
    ) -> None:
        _, version_id = await stored(site)
        answer = await get(site, await address(site, version_id), Range=asked)
        assert (answer.status_code, answer.content) == (206, want)
        assert answer.headers["content-range"] == content_range
        intent, outcome = await reads(site)
        assert [(event.rows, event.bytes) for event in (intent, outcome)] == [(None, len(want))] * 2

    async def test_a_range_outside_of_the_file(self, site: Site) -> None:
        _, version_id = await stored(site)
        answer = await get(site, await address(site, version_id), Range="bytes=2500-")
        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */2500")
        assert await reads(site) == []

    async def test_what_the_client_has_already(self, site: Site) -> None:
        _, version_id = await stored(site)
        answer = await get(site, await address(site, version_id), **{"If-None-Match": f'"{digest(CONTENT)}"'})
        assert (answer.status_code, answer.content) == (304, b"")
        assert await reads(site) == []

    async def test_head_sends_no_bytes_and_records_none(self, site: Site) -> None:
        _, version_id = await stored(site)
        answer = await get(site, await address(site, version_id), method="HEAD")
        assert (answer.status_code, answer.content) == (200, b"")
        assert {name: answer.headers[name] for name in WHOLE_HEADERS} == WHOLE_HEADERS
        assert await reads(site) == []

    async def test_other_methods(self, site: Site) -> None:
        _, version_id = await stored(site)
        assert (await get(site, await address(site, version_id), method="POST")).status_code == 405


WHOLE_HEADERS = {
    "content-type": "application/octet-stream",
    "content-length": "2500",
    "accept-ranges": "bytes",
    "etag": f'"{digest(CONTENT)}"',
    "content-disposition": "attachment; filename*=UTF-8''a.bin",
    "cache-control": "private, no-store",
    "x-content-type-options": "nosniff",
}


class TestRefusals:
    async def test_says_how_to_ask_and_is_recorded(self, site: Site) -> None:
        dataset_id, version_id = await stored(site)
        answer = await get(site, await address(site, version_id), by="quinn")
        assert (answer.status_code, answer.json()) == (
            403,
            {
                "error": {
                    "code": "ACCESS_REFUSED",
                    "reason": "ACCESS_GRANT_REQUIRED",
                    "message": "You may not read a.bin of the data set gauge-digits. "
                    f"It is CONFIDENTIAL and goes by access grant only. {ASK}",
                    "hint": "On the command line, `guildhall access request` asks.",
                }
            },
        )
        (event,) = await reads(site)
        assert (event.outcome, event.reason_code, event.resource_ids) == (
            "REFUSED",
            "ACCESS_REFUSED",
            [version_id, dataset_id],
        )
        assert (event.actor_id, event.team_id) == (
            site.estate.house.people["quinn"],
            site.estate.house.teams["quality"],
        )

    async def test_head_is_refused_like_get(self, site: Site) -> None:
        _, version_id = await stored(site)
        answer = await get(site, await address(site, version_id), by="quinn", method="HEAD")
        assert (answer.status_code, answer.content, "etag" in answer.headers) == (403, b"", False)
        assert [event.outcome for event in await reads(site)] == ["REFUSED"]

    async def test_nobody_without_a_name(self, site: Site) -> None:
        _, version_id = await stored(site, classification=Classification.PUBLIC)
        assert (await get(site, await address(site, version_id), by=None)).status_code == 401

    @pytest.mark.parametrize(
        ("classification", "visibility", "allowed"),
        [
            (Classification.PUBLIC, Visibility.ORGANISATION, {"anna", "carl", "quinn", "vera", "mia"}),
            (Classification.INTERNAL, Visibility.ORGANISATION, {"anna", "carl", "quinn"}),
            (Classification.INTERNAL, Visibility.TEAM, {"anna", "carl"}),
            (Classification.CONFIDENTIAL, Visibility.ORGANISATION, {"anna", "carl"}),
        ],
    )
    async def test_by_role_and_by_grant(
        self, site: Site, classification: Classification, visibility: Visibility, allowed: set[str]
    ) -> None:
        _, version_id = await stored(site, classification=classification, visibility=visibility)
        url = await address(site, version_id)
        names = ("anna", "carl", "quinn", "vera", "mia")
        statuses = {name: (await get(site, url, by=name)).status_code for name in names}
        assert {name for name, status in statuses.items() if status == 200} == allowed
        hidden = {"quinn"} if visibility is Visibility.TEAM else set()
        assert {name for name, status in statuses.items() if status == 404} == hidden

    async def test_what_is_not_stored_is_not_there(self, site: Site) -> None:
        version_id = await site.estate.announce(await site.estate.dataset(), [spec("a.bin", CONTENT), spec("b", b"b")])
        await site.estate.send(version_id, "b", b"b")
        await site.estate.complete(version_id)
        for url in (await address(site, version_id), f"/artifacts/{new_id()}", "/artifacts/none", "/artifacts/"):
            assert (await get(site, url)).status_code == 404
        draft = await get(site, await address(site, version_id, "b"))
        assert (draft.status_code, draft.json()["error"]["reason"]) == (403, "NOT_READY")

    async def test_bytes_that_somebody_removed(self, site: Site) -> None:
        _, version_id = await stored(site)
        await site.estate.store.delete([blob_key(digest(CONTENT))])
        answer = await get(site, await address(site, version_id))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "BYTES_LOST")
        intent, outcome = await reads(site)
        assert (outcome.outcome, outcome.bytes, outcome.concludes_id) == ("ABORTED", 0, intent.id)


class TestAStoreThatFailsInTheMiddle:
    async def test_cuts_the_connection_and_says_so_on_the_record(self, site: Site) -> None:
        _, version_id = await stored(site)
        original = site.estate.store.read

        def failing(key: str, *, start: int, end: int) -> Any:
            async def chunks() -> Any:
                async for chunk in original(key, start=start, end=1000):
                    yield chunk
                raise ArtifactStoreUnavailable("The artifact store cannot be used at the moment.")

            return chunks()

        site.estate.store.read = failing  # type: ignore[method-assign]
        with pytest.raises(httpx.RemoteProtocolError):
            await get(site, await address(site, version_id))
        intent, outcome = await reads(site)
        assert (outcome.outcome, outcome.bytes, outcome.concludes_id) == ("ABORTED", 1000, intent.id)


class TestGrants:
    async def test_open_until_they_end(self, site: Site) -> None:
        dataset_id, version_id = await stored(site)
        grant_id = await grant_to_quality(site, dataset_id)
        url = await address(site, version_id)
        assert (await get(site, url, by="paul")).status_code == 200
        intent, outcome = await reads(site)
        assert [(event.purpose, event.justification, event.access_grant_id) for event in (intent, outcome)] == [
            ("quality", "We compare gauges.", grant_id)
        ] * 2
        assert intent.team_id == site.estate.house.teams["quality"]
        site.estate.clock.advance(timedelta(days=1))
        late = await get(site, url, by="paul")
        assert (late.status_code, late.json()["error"]["reason"]) == (403, "ACCESS_GRANT_ENDED")

    async def test_are_withdrawn_at_once(self, site: Site) -> None:
        dataset_id, version_id = await stored(site)
        grant_id = await grant_to_quality(site, dataset_id)
        url = await address(site, version_id)
        assert (await get(site, url, by="paul")).status_code == 200
        async with site.estate.database.transaction() as session:
            await withdraw_access(
                session,
                site.estate.actor("mia"),
                access_grant_id=grant_id,
                reason="Enough.",
                at=site.estate.clock.now(),
                new_id=new_id,
            )
        assert (await get(site, url, by="paul")).json()["error"]["reason"] == "ACCESS_GRANT_ENDED"

    async def test_withdrawn_between_the_decision_and_the_announcement_are_not_read(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset_id, version_id = await stored(site)
        grant_id = await grant_to_quality(site, dataset_id)
        url = await address(site, version_id)

        async def decided_and_then_withdrawn(*args: Any, **more: Any) -> tuple[OpenedFile, ...]:
            files = await open_files(*args, **more)
            async with site.estate.database.transaction() as session:
                actor, at = site.estate.actor("mia"), site.estate.clock.now()
                await withdraw_access(session, actor, access_grant_id=grant_id, reason="Enough.", at=at, new_id=new_id)
            return files

        monkeypatch.setattr(sending, "open_files", decided_and_then_withdrawn)
        answer = await get(site, url, by="paul")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "ACCESS_GRANT_ENDED")
        assert [event.outcome for event in await reads_now(site)] == ["REFUSED"]

    async def test_open_data_that_only_its_team_can_see(self, site: Site) -> None:
        """Who was given access reads, whatever the visibility; everybody else learns nothing."""
        dataset_id, version_id = await stored(site)
        await grant_to_quality(site, dataset_id)
        async with site.estate.database.transaction() as session:
            site.estate.house.session = session
            await site.estate.house.change(Dataset, dataset_id, visibility="TEAM")
        url = await address(site, version_id)
        assert (await get(site, url, by="paul")).status_code == 200
        assert (await get(site, url, by="omar")).status_code == 404

    async def test_end_with_the_retention(self, site: Site) -> None:
        _, version_id = await stored(site, legal={"retention_ends_on": RETENTION})
        url = await address(site, version_id)
        site.estate.clock.advance(timedelta(days=8))
        assert (await get(site, url)).status_code == 200  # on the last day
        site.estate.clock.advance(timedelta(days=1))
        assert (await get(site, url)).json()["error"]["reason"] == "RETENTION_ENDED"


class TestClientsThatGoAway:
    async def test_are_recorded_with_what_was_sent(self, site: Site) -> None:
        size = 40 * 1024 * 1024
        dataset_id = await site.estate.dataset()
        content = bytes(size)
        version_id = await site.estate.announce(dataset_id, [spec("large", content, rows=9)])
        artifact = await site.estate.artifact(version_id, "large")
        await put_behind_everybodys_back(site, version_id, content)
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(f"GET /artifacts/{artifact.id} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer carl\r\n\r\n".encode())
        await reader.readexactly(100_000)
        writer.transport.abort()
        intent, outcome = await reads(site)
        assert (outcome.outcome, outcome.concludes_id, outcome.rows) == ("ABORTED", intent.id, None)
        assert outcome.bytes is not None
        assert 100_000 - 1_000 <= outcome.bytes < size
        assert (intent.bytes, intent.rows) == (size, 9)


async def put_behind_everybodys_back(site: Site, version_id: UUID, content: bytes) -> None:
    """A large file as one part, without the limit of a part that the tests have."""
    artifact = await site.estate.artifact(version_id, "large")
    async with site.estate.database.read() as session:
        file = await find_upload(session, artifact.id)
    await receive_part(
        site.estate.database,
        site.estate.store,
        site.estate.growths,
        file=file,
        number=1,
        chunks=chunked(content, 1024 * 1024),
        part_bytes_max=len(content),
        clock=site.estate.clock,
        new_id=new_id,
    )
    assert (await site.estate.complete(version_id)).missing == ()
