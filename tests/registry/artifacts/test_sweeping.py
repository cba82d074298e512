"""The sweeper: abandoned uploads and strays go, uploads in progress stay."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from registry.artifacts.sweeping import Swept, sweep_uploads
from registry.artifacts.tables import Artifact, ArtifactPart
from tests.registry.estate import Estate, chunked, spec


@pytest.fixture
async def version_id(estate: Estate) -> UUID:
    return await estate.announce(await estate.dataset(), [spec("a", b"abc"), spec("b", b"b")])


async def sweep(estate: Estate, **later: int) -> Swept:
    return await sweep_uploads(estate.database, estate.store, at=estate.clock.now() + timedelta(**later))


class TestSweepUploads:
    async def test_silence_of_a_week_ends_an_upload(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "a", b"ab")
        assert await sweep(estate, days=7) == Swept(parts=0, orphans=0, staged=0)
        assert len(await estate.keys()) == 1
        assert await sweep(estate, days=7, seconds=1) == Swept(parts=1, orphans=0, staged=0)
        assert (await estate.keys(), await estate.rows(ArtifactPart)) == ([], [])
        assert {row.state for row in await estate.rows(Artifact)} == {"PENDING"}

    async def test_a_part_that_arrives_keeps_the_others(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "a", b"ab", part=1)
        estate.clock.advance(timedelta(days=6))
        await estate.send(version_id, "a", b"c", part=2)
        assert await sweep(estate, days=2) == Swept(parts=0, orphans=0, staged=0)
        assert len(await estate.rows(ArtifactPart)) == 2

    async def test_an_abandoned_upload_can_begin_anew(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "a", b"ab")
        await sweep(estate, days=8)
        await estate.send(version_id, "a", b"abc")
        await estate.send(version_id, "b", b"b")
        assert (await estate.complete(version_id)).missing == ()

    async def test_bytes_without_a_row_go_after_a_day(self, estate: Estate, version_id: UUID) -> None:
        now = datetime.now(UTC)  # noqa: TID251 -- the store keeps the machine's time
        estate.clock.advance_to(now)
        await estate.send(version_id, "a", b"ab")
        (kept,) = await estate.keys()
        await estate.store.write("uploads/stray/00001-x", chunked(b"stray"))
        await estate.store.write("blobs/sha256/ab/cd", chunked(b"not an upload"))
        assert await sweep(estate, hours=23) == Swept(parts=0, orphans=0, staged=0)
        assert len(await estate.keys()) == 3
        assert await sweep(estate, hours=25) == Swept(parts=0, orphans=1, staged=0)
        assert await estate.keys() == ["blobs/sha256/ab/cd", kept]
