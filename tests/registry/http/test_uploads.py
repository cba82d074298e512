"""Uploads over HTTP: who may send, what comes back, and connections that break off in the middle."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from guildhall.audit.tables import AuditEvent
from guildhall.clock import new_id
from registry.artifacts.owners import OwnerRef
from registry.artifacts.planning import pending_uploads
from registry.artifacts.tables import ArtifactPart, OwnerKind
from registry.artifacts.tickets import TICKET_HEADER
from registry.datasets.tables import DatasetVersion, Visibility
from registry.http.desk import STATE_KEY
from tests.registry.estate import PART_BYTES, digest, spec
from tests.registry.http.conftest import Site

CONTENT = bytes(range(250)) * 10


@pytest.fixture
async def version_id(site: Site) -> UUID:
    return await site.estate.announce(await site.estate.dataset(), [spec("a.bin", CONTENT), spec("b.bin", b"b")])


async def address(site: Site, version_id: UUID, path: str = "a.bin") -> str:
    return f"/artifacts/uploads/{(await site.estate.artifact(version_id, path)).id}"


def ticket(site: Site, version_id: UUID) -> dict[str, str]:
    issued = site.tickets.issue(OwnerKind.DATASET_VERSION, version_id, at=site.estate.clock.now())
    return {TICKET_HEADER: issued}


class TestPut:
    async def test_in_parts_with_a_ticket_and_on_after_an_interruption(self, site: Site, version_id: UUID) -> None:
        url, headers = await address(site, version_id), ticket(site, version_id)
        async with site.client(**headers) as client:
            first = await client.put(url, params={"part": 1}, content=CONTENT[:1000])
            assert (first.status_code, first.json()) == (
                200,
                {"part": 1, "sizeBytes": 1000, "sha256": digest(CONTENT[:1000])},
            )
        async with site.client(**headers) as client:
            asked = (await client.get(url)).json()
            assert asked == {
                "path": "a.bin",
                "sizeBytes": 2500,
                "state": "PENDING",
                "partSizeBytes": 1000,
                "parts": [{"part": 1, "offset": 0, "sizeBytes": 1000, "sha256": digest(CONTENT[:1000])}],
            }
            for part, start in ((2, 1000), (3, 2000)):
                answer = await client.put(url, params={"part": part}, content=CONTENT[start : start + 1000])
                assert answer.status_code == 200
            assert (await client.put(await address(site, version_id, "b.bin"), content=b"b")).status_code == 200
        assert (await site.estate.complete(version_id)).missing == ()

    async def test_with_the_own_token_of_who_may_write(self, site: Site, version_id: UUID) -> None:
        url = await address(site, version_id, "b.bin")
        async with site.client("carl") as client:
            assert (await client.put(url, content=b"b")).status_code == 200

    async def test_in_chunks_of_unknown_length(self, site: Site, version_id: UUID) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, 1000, 100):
                yield CONTENT[start : start + 100]

        async with site.client(**ticket(site, version_id)) as client:
            answer = await client.put(await address(site, version_id), content=chunks())
        assert (answer.status_code, answer.json()["sha256"]) == (200, digest(CONTENT[:1000]))

    @pytest.mark.parametrize(
        ("given", "status", "code"),
        [
            ({"params": {"part": 1}, "content": bytes(1001)}, 413, "PART_TOO_LARGE"),
            ({"params": {"part": 0}, "content": b"x"}, 400, "INVALID_PART"),
            ({"params": {"part": "one"}, "content": b"x"}, 400, "INVALID_PART"),
            ({"params": {"part": "-1"}, "content": b"x"}, 400, "INVALID_PART"),
            ({"params": {"part": "10001"}, "content": b"x"}, 400, "INVALID_PART"),
        ],
    )
    async def test_what_cannot_be_a_part(
        self, site: Site, version_id: UUID, given: dict[str, Any], status: int, code: str
    ) -> None:
        async with site.client(**ticket(site, version_id)) as client:
            answer = await client.put(await address(site, version_id), **given)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert await site.estate.rows(ArtifactPart) == []
        assert await site.estate.keys() == []

    async def test_a_part_larger_than_frameworks_like(self, site: Site) -> None:
        content = bytes(12 * 1024 * 1024)
        desk = replace(site.state[STATE_KEY], part_bytes=len(content))
        site.state[STATE_KEY] = desk
        version_id = await site.estate.announce(await site.estate.dataset(), [spec("large", content)])
        async with site.client(**ticket(site, version_id)) as client:
            answer = await client.put(await address(site, version_id, "large"), content=content)
        assert (answer.status_code, answer.json()["sha256"]) == (200, digest(content))

    async def test_a_large_file_has_larger_parts(self, site: Site) -> None:
        announced = replace(spec("large", b"x"), size_bytes=64 << 20)
        version_id = await site.estate.announce(await site.estate.dataset(), [announced])
        url = await address(site, version_id, "large")
        async with site.client(**ticket(site, version_id)) as client:
            assert (await client.get(url)).json()["partSizeBytes"] == 2 << 20
            taken = await client.put(url, content=bytes(2 << 20))
            refused = await client.put(url, params={"part": 2}, content=bytes((2 << 20) + 1))
        assert (taken.status_code, taken.json()["sizeBytes"]) == (200, 2 << 20)
        assert (refused.status_code, refused.json()["error"]["message"]) == (
            413,
            "A part may have 2097152 bytes at most.",
        )
        assert [part.number for part in await site.estate.rows(ArtifactPart)] == [1]

    async def test_a_file_goes_on_in_the_parts_that_it_began_with(self, site: Site) -> None:
        announced = replace(spec("large", b"x"), size_bytes=64 << 20)
        version_id = await site.estate.announce(await site.estate.dataset(), [announced])
        url = await address(site, version_id, "large")
        async with site.client(**ticket(site, version_id)) as client:
            await client.put(url, params={"part": 2}, content=bytes(300_000))
            assert (await client.get(url)).json()["partSizeBytes"] == 2 << 20
            await client.put(url, params={"part": 1}, content=bytes(1 << 20))
            assert (await client.get(url)).json()["partSizeBytes"] == 1 << 20
        async with site.estate.database.read() as session:
            (upload,) = await pending_uploads(
                session,
                owner=OwnerRef(OwnerKind.DATASET_VERSION, version_id),
                public_url="",
                part_size_bytes=PART_BYTES,
                tickets=site.tickets,
                at=site.estate.clock.now(),
            )
        assert upload.part_size_bytes == 1 << 20

    async def test_more_than_was_announced(self, site: Site, version_id: UUID) -> None:
        async with site.client(**ticket(site, version_id)) as client:
            answer = await client.put(await address(site, version_id, "b.bin"), content=b"bb")
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": {"code": "SIZE_MISMATCH", "message": "b.bin was announced with 1 bytes, but more came."}},
        )

    async def test_what_is_stored_already(self, site: Site) -> None:
        version_id = await site.estate.stored(await site.estate.dataset(), {"a": b"a"})
        async with site.client(**ticket(site, version_id)) as client:
            answer = await client.put(await address(site, version_id, "a"), content=b"a")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ALREADY_STORED")

    async def test_other_methods(self, site: Site, version_id: UUID) -> None:
        async with site.client(**ticket(site, version_id)) as client:
            answer = await client.delete(await address(site, version_id))
        assert answer.status_code == 405


class TestWhoMaySend:
    async def test_nobody_without_a_name(self, site: Site, version_id: UUID) -> None:
        async with site.client() as client:
            answer = await client.put(await address(site, version_id), content=b"x")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="Guildhall"')

    @pytest.mark.parametrize("name", ["vera", "quinn", "mia"])
    async def test_nobody_who_may_not_write_and_that_is_recorded(self, site: Site, version_id: UUID, name: str) -> None:
        async with site.client(name) as client:
            answer = await client.put(await address(site, version_id), content=b"x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "PERMISSION_REFUSED")
        last = max(await site.estate.rows(AuditEvent), key=lambda event: event.id)
        assert (last.outcome, last.action, last.actor_id) == (
            "REFUSED",
            "registry:dataset:add-version",
            site.estate.actor(name).id,
        )
        assert await site.estate.rows(ArtifactPart) == []

    async def test_what_one_cannot_see_is_not_there(self, site: Site) -> None:
        dataset_id = await site.estate.dataset(visibility=Visibility.TEAM)
        version_id = await site.estate.announce(dataset_id, [spec("a", b"a")])
        async with site.client("quinn") as client:
            answer = await client.get(await address(site, version_id, "a"))
            unknown = await client.get(f"/artifacts/uploads/{new_id()}")
        assert (answer.status_code, unknown.status_code) == (404, 404)

    async def test_a_ticket_of_another_version(self, site: Site, version_id: UUID) -> None:
        async with site.client(**ticket(site, new_id())) as client:
            answer = await client.put(await address(site, version_id), content=b"x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UPLOAD_TICKET_REFUSED")

    async def test_a_ticket_that_ended(self, site: Site, version_id: UUID) -> None:
        headers = ticket(site, version_id)
        site.estate.clock.advance(timedelta(hours=24))
        async with site.client(**headers) as client:
            answer = await client.put(await address(site, version_id), content=b"x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UPLOAD_TICKET_REFUSED")
        assert await site.estate.rows(ArtifactPart) == []

    async def test_a_ticket_opens_no_download(self, site: Site) -> None:
        version_id = await site.estate.stored(await site.estate.dataset(), {"a": b"a"})
        artifact = await site.estate.artifact(version_id, "a")
        async with site.client(**ticket(site, version_id)) as client:
            assert (await client.get(f"/artifacts/{artifact.id}")).status_code == 401


class TestCutConnections:
    @pytest.mark.parametrize(
        "request_text",
        [
            b"Content-Length: 1000\r\n\r\n" + bytes(400),
            b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + bytes(100) + b"\r\n64\r\n" + bytes(50),
            b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + bytes(100) + b"\r\n",
        ],
        ids=["with a length", "in a chunk", "between chunks"],
    )
    @pytest.mark.parametrize("politely", [True, False], ids=["closed", "reset"])
    async def test_leave_nothing(self, site: Site, version_id: UUID, request_text: bytes, politely: bool) -> None:
        path = await address(site, version_id)
        (name, value), *_ = ticket(site, version_id).items()
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        head = f"PUT {path}?part=1 HTTP/1.1\r\nHost: test\r\n{name}: {value}\r\n"
        writer.write(head.encode() + request_text)
        await writer.drain()
        await asyncio.sleep(0.1)  # so that the server has begun to take the part
        if politely:
            writer.close()
        else:
            writer.transport.abort()
        async with site.client(**ticket(site, version_id)) as client:
            for _ in range(20):
                answer = await client.get(path)
                assert answer.json()["parts"] == []
                await asyncio.sleep(0.01)
        assert await site.estate.keys() == []

        # And the same part can be sent again.
        async with site.client(**ticket(site, version_id)) as client:
            assert (await client.put(path, params={"part": 1}, content=CONTENT[:1000])).status_code == 200
        assert [row.state for row in await site.estate.rows(DatasetVersion)] == ["DRAFT"]
