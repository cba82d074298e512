"""Files that grow part by part: completed without being read again, and never by bytes that nobody digested."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from guildhall.clock import new_id
from registry.artifacts import growing, receiving
from registry.artifacts.completing import blob_key, verify_uploads
from registry.artifacts.growing import Growth, Growths, grown
from registry.artifacts.owners import OwnerRef
from registry.artifacts.receiving import AlreadyStored
from registry.artifacts.tables import ArtifactPart, OwnerKind
from registry.owners import UPLOAD_OWNERS
from registry.storage import ArtifactStore, ArtifactStoreUnavailable, Written
from tests.registry.estate import Estate, digest, spec

CONTENT = bytes(range(250)) * 10
PARTS = {1: CONTENT[:1000], 2: CONTENT[1000:2000], 3: CONTENT[2000:]}


class LinkingStore(ArtifactStore):
    """The estate's store, where nothing can be read or written, only named anew."""

    def __init__(self, estate: Estate) -> None:
        super().__init__(estate.store._store, folder=estate.store._folder)

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> Written:
        raise NotImplementedError


@pytest.fixture
async def version_id(estate: Estate) -> UUID:
    return await estate.announce(await estate.dataset(), [spec("a", CONTENT)])


async def rows(estate: Estate) -> list[ArtifactPart]:
    return sorted(await estate.rows(ArtifactPart), key=lambda part: part.number)


async def completed(estate: Estate, version_id: UUID) -> bytes:
    """What lies under the digest after completion."""
    assert (await estate.complete(version_id)).missing == ()
    return await estate.store.get(blob_key(digest(CONTENT)))


async def is_only_linked(estate: Estate, version_id: UUID) -> bool:
    """Whether the file is verified without being written."""
    owner = OwnerRef(OwnerKind.DATASET_VERSION, version_id)
    try:
        verification = await verify_uploads(
            estate.database, LinkingStore(estate), estate.actor("anna"), owner=owner, owners=UPLOAD_OWNERS
        )
    except NotImplementedError:
        return False
    assert verification.missing == {}
    return True


class TestInOrder:
    async def test_one_file_grows_and_gets_a_second_name(self, estate: Estate, version_id: UUID) -> None:
        for number, content in PARTS.items():
            answer = await estate.send(version_id, "a", content, part=number)
            assert (answer.size_bytes, answer.sha256) == (len(content), digest(content) if number == 1 else None)
        assert [(part.storage_offset, part.size_bytes, part.sha256_so_far) for part in await rows(estate)] == [
            (0, 1000, digest(CONTENT[:1000])),
            (1000, 1000, digest(CONTENT[:2000])),
            (2000, 500, digest(CONTENT)),
        ]
        assert len(await estate.keys()) == 1
        assert await is_only_linked(estate, version_id)
        assert await completed(estate, version_id) == CONTENT

    async def test_wrong_bytes_are_found_without_reading_them(self, estate: Estate, version_id: UUID) -> None:
        for number, content in PARTS.items():
            await estate.send(version_id, "a", bytes(len(content)), part=number)
        (missing,) = (await estate.complete(version_id)).missing
        assert missing.code == "DIGEST_MISMATCH"
        assert [key for key in await estate.keys() if key.startswith("blobs")] == []
        for number, content in PARTS.items():
            await estate.send(version_id, "a", content, part=number)
        assert await is_only_linked(estate, version_id)
        assert await completed(estate, version_id) == CONTENT

    async def test_a_part_that_breaks_off_comes_again(self, estate: Estate, version_id: UUID) -> None:
        async def cut_off() -> AsyncIterator[bytes]:
            yield b"other bytes"
            raise ConnectionResetError("gone")

        await estate.send(version_id, "a", PARTS[1])
        with pytest.raises(ConnectionResetError):
            await estate.send(version_id, "a", b"", part=2, chunks=cut_off())
        (part,) = await rows(estate)
        assert await estate.store.size_bytes(str(part.storage_key)) == 1000
        for number in (2, 3):
            await estate.send(version_id, "a", PARTS[number], part=number)
        assert len(await estate.keys()) == 1
        assert await is_only_linked(estate, version_id)
        assert await completed(estate, version_id) == CONTENT


class TestJoined:
    async def test_out_of_order(self, estate: Estate, version_id: UUID) -> None:
        for number in (3, 1, 2):
            await estate.send(version_id, "a", PARTS[number], part=number)
        assert len(await estate.keys()) == 2
        assert not await is_only_linked(estate, version_id)
        assert await completed(estate, version_id) == CONTENT

    async def test_by_another_process(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "a", PARTS[1])
        await estate.send(version_id, "a", PARTS[2], part=2)
        estate.growths = Growths(estate.store)
        await estate.send(version_id, "a", PARTS[3], part=3)
        assert len(await estate.keys()) == 2
        assert not await is_only_linked(estate, version_id)
        assert await completed(estate, version_id) == CONTENT

    async def test_in_a_store_where_nothing_grows(self, estate: Estate, version_id: UUID) -> None:
        estate.growths = Growths(ArtifactStore(estate.store._store))
        for number, content in PARTS.items():
            await estate.send(version_id, "a", content, part=number)
        assert len(await estate.keys()) == 3
        assert await completed(estate, version_id) == CONTENT

    async def test_the_first_part_sent_again(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "a", bytes(1000))
        await estate.send(version_id, "a", PARTS[2], part=2)
        await estate.send(version_id, "a", PARTS[1])
        assert len(await estate.keys()) == 2  # the first file holds the second part
        await estate.send(version_id, "a", PARTS[3], part=3)
        assert len(await estate.keys()) == 3
        assert await completed(estate, version_id) == CONTENT

    async def test_bytes_behind_the_last_part(self, estate: Estate, version_id: UUID) -> None:
        """Of a part that broke off on a disk that did not take them back."""
        for number, content in PARTS.items():
            await estate.send(version_id, "a", content, part=number)
        folder, key = estate.store._folder, (await rows(estate))[0].storage_key
        assert folder is not None
        assert key is not None
        with (folder / key).open("ab") as file:
            file.write(b"more")
        assert not await is_only_linked(estate, version_id)
        assert await completed(estate, version_id) == CONTENT


class TestRivals:
    async def test_the_same_part_from_twenty_callers(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "a", PARTS[1])
        await asyncio.gather(*(estate.send(version_id, "a", PARTS[2], part=2) for _ in range(20)))
        await estate.send(version_id, "a", PARTS[3], part=3)
        assert [part.number for part in await rows(estate)] == [1, 2, 3]
        assert await completed(estate, version_id) == CONTENT

    async def test_a_part_whose_row_may_or_may_not_be_there(
        self, estate: Estate, version_id: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The connection to the database breaks at the commit: nobody writes over what its row may name."""
        await estate.send(version_id, "a", PARTS[1])
        written_down = receiving._write_down

        async def broken(*given: object) -> list[str]:
            await written_down(*given)  # type: ignore[arg-type]
            raise OSError("the connection is gone")

        monkeypatch.setattr(receiving, "_write_down", broken)
        with pytest.raises(OSError, match="gone"):
            await estate.send(version_id, "a", PARTS[2], part=2)
        monkeypatch.undo()
        first = await rows(estate)
        await estate.send(version_id, "a", PARTS[2], part=2)
        await estate.send(version_id, "a", PARTS[3], part=3)
        assert (first[1].storage_key, (await rows(estate))[1].storage_key) != (first[0].storage_key,) * 2
        assert await completed(estate, version_id) == CONTENT

    async def test_the_part_before_is_sent_anew_meanwhile(self, estate: Estate, version_id: UUID) -> None:
        """Through another process, whose own file takes the place of the one that is appended to."""
        await estate.send(version_id, "a", PARTS[1])

        async def overtaken() -> AsyncIterator[bytes]:
            yield PARTS[2][:10]
            here, estate.growths = estate.growths, Growths(estate.store)
            await estate.send(version_id, "a", PARTS[1])
            estate.growths = here
            yield PARTS[2][10:]

        with pytest.raises(ArtifactStoreUnavailable, match="part 2 was not kept"):
            await estate.send(version_id, "a", b"", part=2, chunks=overtaken())
        assert [part.number for part in await rows(estate)] == [1]
        assert await estate.keys() == [(await rows(estate))[0].storage_key]
        for number in (2, 3):
            await estate.send(version_id, "a", PARTS[number], part=number)
        assert await completed(estate, version_id) == CONTENT

    async def test_the_file_is_completed_meanwhile(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "a", PARTS[1])

        async def late() -> AsyncIterator[bytes]:
            growths, estate.growths = estate.growths, Growths(estate.store)
            await estate.send(version_id, "a", PARTS[2], part=2)
            await estate.send(version_id, "a", PARTS[3], part=3)
            assert await completed(estate, version_id) == CONTENT
            estate.growths = growths
            yield bytes(1000)

        with pytest.raises(AlreadyStored):
            await estate.send(version_id, "a", b"", part=2, chunks=late())
        assert await estate.store.get(blob_key(digest(CONTENT))) == CONTENT


class TestGrowths:
    def test_only_so_many_are_gone_on_with(self, estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(growing, "GROWTHS_MAX", 2)
        growths = Growths(estate.store)
        ids = [new_id() for _ in range(3)]
        for each in ids:
            growths.keep(each, Growth("key", 1, 10))
        part = ArtifactPart(number=1, storage_key="key", storage_offset=0, size_bytes=10)
        taken = [growths.take(each, part, number=2, new_key="other") for each in ids]
        assert [None if each is None else each.key for each in taken] == [None, "key", "key"]
        assert growths.take(ids[1], part, number=2, new_key="other") is None  # it is somebody's

    def test_nothing_has_grown(self) -> None:
        assert grown([]) is None
