"""The sweeper: abandoned uploads and strays go, uploads in progress stay."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from registry.artifacts import sweeping
from registry.artifacts.completing import BLOBS_PREFIX, blob_key
from registry.artifacts.sweeping import Swept, sweep_uploads, swept_folder
from registry.artifacts.tables import Artifact, ArtifactPart
from tests.registry.estate import Estate, chunked, digest, spec


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


@pytest.mark.usefixtures("version_id")
class TestBytesUnderTheirDigest:
    """What bundles left; `a` is announced with b"abc", months before the store's own clock."""

    async def test_go_after_a_week(self, estate: Estate) -> None:
        await left_behind(estate, b"abc", b"never announced")
        for content in (b"abc", b"never announced"):
            assert (await sweep_folder_of(estate, content, days=5)).orphans == 0
        assert len(await estate.keys()) == 2
        for content in (b"abc", b"never announced"):
            assert (await sweep_folder_of(estate, content, days=8)).orphans == 1
        assert await estate.keys() == []

    async def test_go_when_it_is_their_turn_and_so_many_at_once(
        self, estate: Estate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await left_behind(estate, b"abc")
        at = turn_of(b"abc", days=8)
        later = at + timedelta(seconds=sweeping.BLOB_FOLDER_SECONDS)
        assert (await sweep_uploads(estate.database, estate.store, at=later)).orphans == 0
        monkeypatch.setattr(sweeping, "FILES_PER_SWEEP_MAX", 0)
        assert (await sweep_uploads(estate.database, estate.store, at=at)).orphans == 0
        assert await estate.keys() == [blob_key(digest(b"abc"))]

    async def test_of_stored_files_stay(self, estate: Estate) -> None:
        await estate.stored(await estate.dataset("others"), {"same": b"abc"})
        await sweep_folder_of(estate, b"abc", days=30)
        assert await estate.keys(BLOBS_PREFIX) == [blob_key(digest(b"abc"))]

    async def test_of_uploads_that_go_on_stay(self, estate: Estate, version_id: UUID) -> None:
        await left_behind(estate, b"abc", b"soon")
        estate.clock.advance_to(turn_of(b"abc", days=7))
        await estate.send(version_id, "a", b"abc")
        await estate.announce(await estate.dataset("others"), [spec("soon", b"soon")])
        for content in (b"abc", b"soon"):
            assert (await sweep_folder_of(estate, content, days=8)).orphans == 0
            assert await estate.store.get(blob_key(digest(content))) == content

    async def test_that_are_written_meanwhile_stay(self, estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
        await left_behind(estate, b"abc")
        listed = estate.store.keys_before

        async def overtaken(prefix: str, moment: datetime) -> AsyncIterator[list[str]]:
            """As if the file had been old when it was listed."""
            async for page in listed(prefix, moment + timedelta(days=7)):
                yield page

        monkeypatch.setattr(estate.store, "keys_before", overtaken)
        assert (await sweep_folder_of(estate, b"abc", days=1)).orphans == 0
        monkeypatch.undo()
        assert await estate.keys() == [blob_key(digest(b"abc"))]


async def left_behind(estate: Estate, *contents: bytes) -> None:
    for content in contents:
        await estate.store.put(blob_key(digest(content)), content)


def turn_of(content: bytes, *, days: int) -> datetime:
    """A moment at least so many days from now at which the folder of this digest is looked through."""
    now = datetime.now(UTC)  # noqa: TID251 -- the store keeps the machine's time
    turns = (
        now + timedelta(days=days, seconds=sweeping.BLOB_FOLDER_SECONDS * turn) for turn in range(sweeping.BLOB_FOLDERS)
    )
    return next(at for at in turns if swept_folder(at) == digest(content)[:2])


async def sweep_folder_of(estate: Estate, content: bytes, *, days: int) -> Swept:
    return await sweep_uploads(estate.database, estate.store, at=turn_of(content, days=days))
