"""Parts on their way in: kept whole or not at all, replaced, resumed, and refused where they cannot be right."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from guildhall.clock import new_id
from registry.artifacts.receiving import (
    AlreadyStored,
    InvalidPart,
    PartTooLarge,
    ReceivedPart,
    TooManyBytes,
    UploadNotFound,
    find_upload,
    receive_part,
    received_parts,
)
from registry.artifacts.tables import ArtifactPart
from tests.registry.estate import Estate, chunked, digest, spec

CONTENT = bytes(range(250)) * 10  # 2,500 bytes: two and a half parts


@pytest.fixture
async def version_id(estate: Estate) -> UUID:
    return await estate.announce(await estate.dataset(), [spec("a.bin", CONTENT), spec("b.bin", b"b")])


async def cut_off(content: bytes) -> AsyncIterator[bytes]:
    yield content
    raise ConnectionResetError("the client is gone")


class TestReceivePart:
    async def test_parts_are_listed_with_their_offsets(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "a.bin", CONTENT[1000:2000], part=2)
        answer = await estate.send(version_id, "a.bin", CONTENT[:1000], part=1)
        assert answer == ReceivedPart(number=1, offset=0, size_bytes=1000, sha256=digest(CONTENT[:1000]))
        artifact = await estate.artifact(version_id, "a.bin")
        async with estate.database.read() as session:
            assert await received_parts(session, artifact.id) == [
                ReceivedPart(number=1, offset=0, size_bytes=1000, sha256=digest(CONTENT[:1000])),
                ReceivedPart(number=2, offset=1000, size_bytes=1000, sha256=digest(CONTENT[1000:2000])),
            ]

    async def test_a_part_sent_again_replaces_the_first(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "a.bin", b"wrong")
        await estate.send(version_id, "a.bin", CONTENT[:1000])
        (part,) = await estate.rows(ArtifactPart)
        assert (part.number, part.size_bytes, part.sha256) == (1, 1000, digest(CONTENT[:1000]))
        assert await estate.keys() == [part.storage_key]

    async def test_a_connection_cut_in_the_middle_leaves_nothing(self, estate: Estate, version_id: UUID) -> None:
        with pytest.raises(ConnectionResetError):
            await estate.send(version_id, "a.bin", b"", chunks=cut_off(CONTENT[:700]))
        assert await estate.rows(ArtifactPart) == []
        assert await estate.keys() == []

    async def test_a_connection_cut_in_the_middle_leaves_the_part_that_was_there(
        self, estate: Estate, version_id: UUID
    ) -> None:
        await estate.send(version_id, "a.bin", CONTENT[:1000])
        with pytest.raises(ConnectionResetError):
            await estate.send(version_id, "a.bin", b"", chunks=cut_off(CONTENT[:700]))
        (part,) = await estate.rows(ArtifactPart)
        assert (part.size_bytes, await estate.keys()) == (1000, [part.storage_key])

    async def test_a_part_that_is_too_large(self, estate: Estate, version_id: UUID) -> None:
        with pytest.raises(PartTooLarge) as caught:
            await estate.send(version_id, "a.bin", CONTENT[:1001])
        assert caught.value.message == "A part may have 1000 bytes at most."
        assert (await estate.rows(ArtifactPart), await estate.keys()) == ([], [])

    async def test_an_endless_part_is_broken_off(self, estate: Estate, version_id: UUID) -> None:
        taken = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 400
                yield bytes(400)

        with pytest.raises(PartTooLarge):
            await estate.send(version_id, "a.bin", b"", chunks=endless())
        assert taken == 1200

    async def test_more_bytes_than_were_announced(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "a.bin", CONTENT[:1000], part=1)
        await estate.send(version_id, "a.bin", CONTENT[1000:2000], part=2)
        with pytest.raises(TooManyBytes) as caught:
            await estate.send(version_id, "a.bin", bytes(501), part=3)
        assert caught.value.message == "a.bin was announced with 2500 bytes, but more came."
        assert caught.value.code == "SIZE_MISMATCH"
        (key,) = await estate.keys()
        assert await estate.store.size_bytes(key) == 2000

    @pytest.mark.parametrize("number", [0, -1, 10_001])
    async def test_a_number_that_is_none(self, estate: Estate, version_id: UUID, number: int) -> None:
        with pytest.raises(InvalidPart) as caught:
            await estate.send(version_id, "a.bin", b"x", part=number)
        assert caught.value.message == f"Part {number} cannot be: parts are numbered from 1 to 10000."

    async def test_a_file_that_is_stored(self, estate: Estate, version_id: UUID) -> None:
        await estate.send(version_id, "b.bin", b"b")
        await estate.complete(version_id)
        with pytest.raises(AlreadyStored) as caught:
            await estate.send(version_id, "b.bin", b"c")
        assert caught.value.message == "b.bin is stored already; nothing can be added to it."

    async def test_a_part_that_arrives_while_the_file_is_completed(self, estate: Estate, version_id: UUID) -> None:
        """The rival is forced in between the first look and the lock: the late part is refused, its bytes go."""
        await estate.send(version_id, "b.bin", b"b")

        async def late() -> AsyncIterator[bytes]:
            await estate.complete(version_id)
            yield b"b"

        with pytest.raises(AlreadyStored):
            await estate.send(version_id, "b.bin", b"", chunks=late())
        async with estate.database.read() as session:
            file = await find_upload(session, (await estate.artifact(version_id, "b.bin")).id)
        assert file.state == "STORED"
        # The part that was verified waits in the outbox; the late one is gone.
        assert [key for key in await estate.keys("uploads") if key.startswith("uploads")] != []
        assert len(await estate.keys("uploads")) == 1

    async def test_twenty_callers_send_the_same_part_at_once(self, estate: Estate, version_id: UUID) -> None:
        answers = await asyncio.gather(*(estate.send(version_id, "a.bin", CONTENT[:1000]) for _ in range(20)))
        assert {answer.sha256 for answer in answers} == {digest(CONTENT[:1000])}
        (part,) = await estate.rows(ArtifactPart)
        assert await estate.keys() == [part.storage_key]


class TestFindUpload:
    async def test_no_such_file(self, estate: Estate) -> None:
        async with estate.database.read() as session:
            with pytest.raises(UploadNotFound) as caught:
                await find_upload(session, new_id())
        assert caught.value.message == "There is no such upload."


class TestRemovedMeanwhile:
    async def test_its_file_is_gone(self, estate: Estate, version_id: UUID) -> None:
        async with estate.database.read() as session:
            file = await find_upload(session, (await estate.artifact(version_id, "b.bin")).id)
        gone = type(file)(**{**file.__dict__, "artifact_id": new_id()})
        with pytest.raises(UploadNotFound):
            await receive_part(
                estate.database,
                estate.store,
                estate.growths,
                file=gone,
                number=1,
                chunks=chunked(b"b"),
                part_bytes_max=10,
                clock=estate.clock,
                new_id=new_id,
            )
        assert await estate.keys() == []
