"""Completion: exact reports of what is missing, and nothing visible before it was verified."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from guildhall.audit.tables import AuditEvent
from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import NotFound
from guildhall.outbox.tables import OutboxRow
from registry.artifacts.completing import (
    Completion,
    MissingFile,
    Verification,
    blob_key,
    complete_uploads,
    discard_uploads,
    verify_uploads,
)
from registry.artifacts.owners import OwnerRef
from registry.artifacts.sweeping import delete_stored_parts
from registry.artifacts.tables import Artifact, ArtifactPart, OwnerKind
from registry.datasets.tables import DatasetVersion
from registry.owners import UPLOAD_OWNERS
from registry.storage import ArtifactStore, ArtifactStoreUnavailable
from tests.registry.estate import Estate, digest, spec

CONTENT = bytes(range(250)) * 10


async def drop_parts(estate: Estate) -> int:
    return await delete_stored_parts(estate.database, estate.store, owner="test", clock=estate.clock)


async def version_state(estate: Estate, version_id: UUID) -> str:
    (row,) = [row for row in await estate.rows(DatasetVersion) if row.id == version_id]
    return str(row.state)


async def content_of(store: ArtifactStore, content: bytes) -> bytes:
    return b"".join([chunk async for chunk in store.read(blob_key(digest(content)), start=0, end=len(content))])


@pytest.fixture
async def dataset_id(estate: Estate) -> UUID:
    return await estate.dataset()


class TestCompleteUploads:
    async def test_all_files_in_one_part_and_in_several(self, estate: Estate, dataset_id: UUID) -> None:
        version_id = await estate.stored(dataset_id, {"a.bin": CONTENT, "b.bin": b"b", "empty": b""})
        assert await version_state(estate, version_id) == "READY"
        assert {row.path: (row.state, row.stored_at) for row in await estate.rows(Artifact)} == {
            "a.bin": ("STORED", estate.clock.now()),
            "b.bin": ("STORED", estate.clock.now()),
            "empty": ("STORED", estate.clock.now()),
        }
        assert await content_of(estate.store, CONTENT) == CONTENT
        assert await content_of(estate.store, b"b") == b"b"
        assert await drop_parts(estate) == 3  # one for each file, however many parts it had
        assert await estate.rows(ArtifactPart) == []
        assert await estate.keys() == sorted(blob_key(digest(content)) for content in (CONTENT, b"b", b""))

    async def test_a_file_of_no_bytes_need_not_be_sent(self, estate: Estate, dataset_id: UUID) -> None:
        version_id = await estate.announce(dataset_id, [spec("empty", b"")])
        assert (await estate.complete(version_id)).missing == ()
        assert await version_state(estate, version_id) == "READY"

    async def test_what_is_missing_is_told_path_by_path(self, estate: Estate, dataset_id: UUID) -> None:
        files = [spec(name, CONTENT) for name in ("digest", "gap", "none", "right", "short")]
        version_id = await estate.announce(dataset_id, files)
        wrong = bytes(2500)
        for part, start in ((1, 0), (2, 1000), (3, 2000)):
            await estate.send(version_id, "right", CONTENT[start : start + 1000], part=part)
            await estate.send(version_id, "digest", wrong[start : start + 1000], part=part)
        await estate.send(version_id, "gap", CONTENT[:1000], part=1)
        await estate.send(version_id, "gap", CONTENT[2000:], part=3)
        await estate.send(version_id, "short", CONTENT[:700], part=1)
        completion = await estate.complete(version_id)
        assert completion.missing == (
            MissingFile(
                "digest",
                "DIGEST_MISMATCH",
                f"The digest {digest(CONTENT)} was announced, bytes with {digest(wrong)} came. "
                "Send the file again from the start.",
            ),
            MissingFile("gap", "NOT_UPLOADED", "Part 2 of gap has not arrived."),
            MissingFile("none", "NOT_UPLOADED", "2500 bytes were announced, none came."),
            MissingFile("short", "SIZE_MISMATCH", "2500 bytes were announced, 700 came."),
        )
        assert await version_state(estate, version_id) == "DRAFT"
        states = {row.path: row.state for row in await estate.rows(Artifact)}
        assert states == {name: "STORED" if name == "right" else "PENDING" for name in states}
        # What is wrong as a whole is gone; what only ended too early can go on.
        kept = {(part.number, part.size_bytes) for part in await estate.rows(ArtifactPart)}
        assert kept == {(1, 1000), (3, 500), (1, 700)}
        assert [key for key in await estate.keys() if key.startswith("blobs")] == [blob_key(digest(CONTENT))]

    async def test_a_wrong_single_part(self, estate: Estate, dataset_id: UUID) -> None:
        version_id = await estate.announce(dataset_id, [spec("a", b"right")])
        await estate.send(version_id, "a", b"wrong")
        (missing,) = (await estate.complete(version_id)).missing
        assert (missing.path, missing.code) == ("a", "DIGEST_MISMATCH")
        assert await drop_parts(estate) == 1
        assert await estate.keys() == []
        await estate.send(version_id, "a", b"right")
        assert (await estate.complete(version_id)).missing == ()
        assert await version_state(estate, version_id) == "READY"

    async def test_what_was_missing_can_follow(self, estate: Estate, dataset_id: UUID) -> None:
        version_id = await estate.announce(dataset_id, [spec("a", CONTENT)])
        await estate.send(version_id, "a", CONTENT[:1000], part=1)
        assert [file.code for file in (await estate.complete(version_id)).missing] == ["SIZE_MISMATCH"]
        await estate.send(version_id, "a", CONTENT[1000:2000], part=2)
        await estate.send(version_id, "a", CONTENT[2000:], part=3)
        assert (await estate.complete(version_id)).missing == ()
        assert await content_of(estate.store, CONTENT) == CONTENT

    async def test_again_after_success_changes_nothing(self, estate: Estate, dataset_id: UUID) -> None:
        version_id = await estate.stored(dataset_id, {"a": CONTENT})
        events = len(await estate.rows(AuditEvent))
        estate.clock.advance(seconds=60)
        owner = OwnerRef(OwnerKind.DATASET_VERSION, version_id)
        assert await estate.complete(version_id) == Completion(owner=owner, missing=())
        (row,) = await estate.rows(Artifact)
        assert row.stored_at < estate.clock.now()
        assert len(await estate.rows(AuditEvent)) == events

    async def test_equal_files_are_kept_once(self, estate: Estate, dataset_id: UUID) -> None:
        await estate.stored(dataset_id, {"a": CONTENT, "b": CONTENT})
        await estate.stored(dataset_id, {"c": CONTENT})
        await drop_parts(estate)
        assert await estate.keys() == [blob_key(digest(CONTENT))]

    async def test_to_know_a_digest_is_not_to_have_the_file(self, estate: Estate, dataset_id: UUID) -> None:
        """Announcing the digest of somebody else's file gives nobody a file of their own."""
        await estate.stored(dataset_id, {"secret": CONTENT})
        thief = await estate.announce(dataset_id, [spec("mine", CONTENT)])
        (missing,) = (await estate.complete(thief)).missing
        assert (missing.path, missing.code) == ("mine", "NOT_UPLOADED")
        assert await version_state(estate, thief) == "DRAFT"

    async def test_what_was_stored_is_on_the_record(self, estate: Estate, dataset_id: UUID) -> None:
        version_id = await estate.stored(dataset_id, {"a": CONTENT, "b": b"b"})
        last = max(await estate.rows(AuditEvent), key=lambda event: event.id)
        assert (last.action, last.outcome, last.bytes) == ("registry:dataset:add-version", "ALLOWED", 2501)
        assert last.after == {"stored": 2, "missing": 0}
        assert last.resource_ids == [version_id, dataset_id]
        assert last.actor_id == estate.actor("anna").id


class TestRivals:
    async def test_ten_callers_complete_at_once(self, estate: Estate, dataset_id: UUID) -> None:
        version_id = await estate.announce(dataset_id, [spec("a", CONTENT), spec("b", b"b")])
        for part, start in ((1, 0), (2, 1000), (3, 2000)):
            await estate.send(version_id, "a", CONTENT[start : start + 1000], part=part)
        await estate.send(version_id, "b", b"b")
        answers = await asyncio.gather(*(estate.complete(version_id) for _ in range(10)))
        assert {answer.missing for answer in answers} == {()}
        assert await version_state(estate, version_id) == "READY"
        stored = [event for event in await estate.rows(AuditEvent) if event.after == {"stored": 2, "missing": 0}]
        assert len(stored) == 1
        assert await content_of(estate.store, CONTENT) == CONTENT

    async def test_a_rival_completes_and_cleans_up_between_the_two_steps(
        self, estate: Estate, dataset_id: UUID
    ) -> None:
        version_id = await estate.announce(dataset_id, [spec("a", CONTENT)])
        for part, start in ((2, 1000), (1, 0), (3, 2000)):
            await estate.send(version_id, "a", CONTENT[start : start + 1000], part=part)
        rival = RivalStore(estate)
        verification = await verify(estate, version_id, store=rival)
        assert [file.code for file in verification.missing.values()] == ["NOT_UPLOADED"]
        assert (await finish(estate, verification)).missing == ()
        assert await version_state(estate, version_id) == "READY"

    async def test_the_right_is_lost_between_the_two_steps(self, estate: Estate, dataset_id: UUID) -> None:
        version_id = await estate.announce(dataset_id, [spec("a", b"a")])
        await estate.send(version_id, "a", b"a")
        verification = await verify(estate, version_id)
        with pytest.raises(PermissionRefused):
            await finish(estate, verification, by="vera")
        assert await version_state(estate, version_id) == "DRAFT"
        assert [row.state for row in await estate.rows(Artifact)] == ["PENDING"]


class TestFaults:
    async def test_a_store_that_is_away_loses_nothing(self, estate: Estate, dataset_id: UUID) -> None:
        version_id = await estate.announce(dataset_id, [spec("a", b"a")])
        await estate.send(version_id, "a", b"a")
        with pytest.raises(ArtifactStoreUnavailable):
            await verify(estate, version_id, store=AwayStore(estate))
        assert (await estate.complete(version_id)).missing == ()

    async def test_parts_wait_for_a_store_that_is_away(self, estate: Estate, dataset_id: UUID) -> None:
        await estate.stored(dataset_id, {"a": b"a"})
        away = AwayStore(estate)
        assert await delete_stored_parts(estate.database, away, owner="test", clock=estate.clock) == 0
        (row,) = await estate.rows(OutboxRow)
        assert (row.done_at, row.last_error) == (
            None,
            "The artifact store cannot be used at the moment; nothing was stored. Try again later.",
        )
        estate.clock.advance(seconds=2)
        assert await drop_parts(estate) == 1


class TestDiscardUploads:
    async def test_what_is_stored_stays_and_all_else_goes(self, estate: Estate, dataset_id: UUID) -> None:
        files = [spec("kept", b"kept"), spec("cut", CONTENT), spec("none", b"n")]
        version_id = await estate.announce(dataset_id, files)
        await estate.send(version_id, "kept", b"kept")
        await estate.send(version_id, "cut", CONTENT[:1000], part=1)
        await estate.complete(version_id)
        owner = OwnerRef(OwnerKind.DATASET_VERSION, version_id)
        for _ in range(2):
            async with estate.database.transaction() as session:
                await discard_uploads(session, owner=owner, at=estate.clock.now(), new_id=new_id)
        assert [(row.path, row.state) for row in await estate.rows(Artifact)] == [("kept", "STORED")]
        assert await estate.rows(ArtifactPart) == []
        await drop_parts(estate)
        assert await estate.keys() == [blob_key(digest(b"kept"))]


class TestRefusals:
    @pytest.mark.parametrize(("name", "error"), [("vera", PermissionRefused), ("quinn", PermissionRefused)])
    async def test_who_may_not_write(self, estate: Estate, dataset_id: UUID, name: str, error: type[Exception]) -> None:
        version_id = await estate.announce(dataset_id, [spec("a", b"a")])
        await estate.send(version_id, "a", b"a")
        with pytest.raises(error):
            await estate.complete(version_id, by=name)
        assert [row.state for row in await estate.rows(Artifact)] == ["PENDING"]

    async def test_what_is_not_there(self, estate: Estate) -> None:
        with pytest.raises(NotFound) as caught:
            await estate.complete(new_id())
        assert (caught.value.message, caught.value.field) == ("There is no such version of a data set.", "ownerId")


class AwayStore(ArtifactStore):
    """The estate's store, while nobody can reach it."""

    def __init__(self, estate: Estate) -> None:
        super().__init__(estate.store._store)

    async def copy(self, source: str, target: str) -> None:
        raise ArtifactStoreUnavailable(
            "The artifact store cannot be used at the moment; nothing was stored. Try again later."
        )

    async def delete(self, keys: list[str]) -> None:
        await self.copy("", "")


class RivalStore(ArtifactStore):
    """The estate's store, where somebody else completes and cleans up as soon as the first part is read."""

    def __init__(self, estate: Estate) -> None:
        super().__init__(estate.store._store)
        self._estate = estate

    async def write(self, key: str, chunks: AsyncIterator[bytes]):  # type: ignore[no-untyped-def]  # noqa: ANN201
        (version_id,) = {row.owner_id for row in await self._estate.rows(Artifact)}
        assert (await self._estate.complete(version_id)).missing == ()
        assert await drop_parts(self._estate) == 3
        return await super().write(key, chunks)


async def verify(estate: Estate, version_id: UUID, *, store: ArtifactStore | None = None) -> Verification:
    owner = OwnerRef(OwnerKind.DATASET_VERSION, version_id)
    return await verify_uploads(
        estate.database, store or estate.store, estate.actor("anna"), owner=owner, owners=UPLOAD_OWNERS
    )


async def finish(estate: Estate, verification: Verification, *, by: str = "anna") -> Completion:
    async with estate.database.transaction() as session:
        return await complete_uploads(
            session,
            estate.actor(by),
            verification=verification,
            owners=UPLOAD_OWNERS,
            at=estate.clock.now(),
            new_id=new_id,
        )
