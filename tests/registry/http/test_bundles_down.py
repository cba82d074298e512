"""Many files in one answer: decided, counted and recorded as one, and as strictly as single files."""

import asyncio
import io
import tarfile
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest

from guildhall.audit.tables import AuditEvent
from guildhall.clock import new_id
from registry.access.jobs import JobInput
from registry.access.withdrawal import withdraw_access
from registry.artifacts.bundles import BundleLimits
from registry.artifacts.completing import blob_key
from registry.artifacts.tables import Artifact
from registry.datasets.tables import Classification
from registry.http import bundles, sending
from registry.minimisation.filtering import StillCutting
from registry.storage import CHUNK_BYTES, ArtifactStoreUnavailable
from registry.volume.tables import AccessAlert, ReadCounter
from tests.registry.estate import digest
from tests.registry.http.conftest import Site
from tests.registry.http.reading import ASK, grant_to_quality, reads, reads_now
from tests.registry.http.test_bulk_reads import limit
from tests.registry.http.test_narrowed_downloads import CUSTOMERS, IDS, narrowed

LONG = "m/ä" + "n" * 150 + ".txt"
FILES = {"a.bin": b"a" * 700, "b/c.bin": b"", LONG: b"long", "z.bin": b"z" * 512}


async def version(site: Site, files: dict[str, bytes] | None = None, **given: Any) -> tuple[UUID, UUID, list[str]]:
    """A data set, a version of it, and the ids of the version's files, by path."""
    dataset_id = await site.estate.dataset(**given)
    version_id = await site.estate.stored(dataset_id, FILES if files is None else files)
    return dataset_id, version_id, await ids(site, version_id)


async def ids(site: Site, version_id: UUID) -> list[str]:
    mine = [each for each in await site.estate.rows(Artifact) if each.owner_id == version_id]
    return [str(each.id) for each in sorted(mine, key=lambda each: each.path)]


async def post(site: Site, files: Any, *, by: str = "carl", **given: Any) -> httpx.Response:
    async with site.client(by) as client:
        return await client.post("/artifacts/bundle", **({"json": {"files": files}} | given))


def unpacked(content: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            assert (member.isreg(), member.mode, member.mtime) == (True, 0o644, 0)
            opened = tar.extractfile(member)
            assert opened is not None
            found[member.name] = opened.read()
    return found


def error(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    return found


class TestAll:
    async def test_of_a_version_in_one_answer_with_two_events(self, site: Site) -> None:
        dataset_id, version_id, wanted = await version(site)
        answer = await post(site, wanted)
        assert (answer.status_code, unpacked(answer.content)) == (200, FILES)
        assert answer.headers["content-type"] == "application/x-tar"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["cache-control"] == "private, no-store"
        intent, outcome = await reads(site)
        assert (intent.outcome, outcome.outcome, outcome.concludes_id) == ("STARTED", "COMPLETED", intent.id)
        for event in (intent, outcome):
            assert event.action == "registry:dataset:read"
            assert event.resource_types == ["DatasetVersion", "Dataset", *["Artifact"] * 4]
            assert event.resource_ids == [version_id, dataset_id, *map(UUID, wanted)]
            assert (event.rows, event.bytes) == (12, 1216)
        assert (intent.after, outcome.after) == (None, {"filesSent": 4})

    async def test_in_the_order_asked_for(self, site: Site) -> None:
        _, _, wanted = await version(site)
        answer = await post(site, [wanted[3], wanted[0]])
        assert list(unpacked(answer.content)) == ["z.bin", "a.bin"]

    async def test_files_that_are_larger_than_a_message(self, site: Site) -> None:
        site.state["artifact_desk"] = _with_limits(site, files_max=20, bytes_max=10 * CHUNK_BYTES)
        content = {"a": b"a" * 100, "b": b"b" * (CHUNK_BYTES + 77), "c": b"c"}
        _, _, wanted = await version(site, content)
        assert unpacked((await post(site, wanted)).content) == content

    async def test_of_one_file_alone(self, site: Site) -> None:
        _, _, wanted = await version(site)
        assert unpacked((await post(site, wanted[:1])).content) == {"a.bin": FILES["a.bin"]}
        _, outcome = await reads(site)
        assert (outcome.bytes, outcome.after) == (700, None)


class TestRefusals:
    async def test_of_the_whole_before_a_byte(self, site: Site) -> None:
        dataset_id, version_id, wanted = await version(site)
        answer = await post(site, wanted, by="quinn")
        assert (answer.status_code, error(answer)["message"]) == (
            403,
            (
                "You may not read a.bin of the data set gauge-digits. "
                f"It is CONFIDENTIAL and goes by access grant only. {ASK}"
            ),
        )
        (event,) = await reads(site)
        assert (event.outcome, event.resource_ids) == ("REFUSED", [version_id, dataset_id])

    async def test_a_file_of_another_owner_or_of_none_is_named(self, site: Site) -> None:
        dataset_id, _, wanted = await version(site)
        other = await ids(site, await site.estate.stored(dataset_id, {"other": b"o"}))
        for stranger in (other[0], str(new_id())):
            answer = await post(site, [wanted[0], stranger])
            assert (answer.status_code, error(answer)) == (
                404,
                {"code": "NOT_FOUND", "message": f"There is no file {stranger} beside the others.", "file": stranger},
            )
        assert (await post(site, [str(new_id()), wanted[0]])).status_code == 404
        assert await reads(site) == []

    async def test_what_one_cannot_see_is_not_there(self, site: Site) -> None:
        _, _, wanted = await version(site, visibility="TEAM")
        assert (await post(site, wanted, by="quinn")).status_code == 404

    async def test_nobody_without_a_name(self, site: Site) -> None:
        _, _, wanted = await version(site, classification=Classification.PUBLIC)
        async with site.client() as client:
            assert (await client.post("/artifacts/bundle", json={"files": wanted})).status_code == 401

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"", 400, "INVALID_BUNDLE"),
            (b"{", 400, "INVALID_BUNDLE"),
            (b"[]", 400, "INVALID_BUNDLE"),
            (b'{"files": {}}', 400, "INVALID_BUNDLE"),
            (b'{"files": []}', 400, "INVALID_BUNDLE"),
            (b'{"files": ["x"]}', 400, "INVALID_BUNDLE"),
            (b'{"files": [7]}', 400, "INVALID_BUNDLE"),
            (b"[" * 1000, 400, "INVALID_BUNDLE"),
            (b'{"files": ["00000000-0000-0000-0000-000000000001", "00000000000000000000000000000001"]}', 400,
             "INVALID_BUNDLE"),
            (b" " * 21 * 64 + b" ", 413, "BUNDLE_TOO_LARGE"),
        ],
    )  # fmt: skip
    async def test_bodies_that_name_no_files(self, site: Site, body: bytes, status: int, code: str) -> None:
        answer = await post(site, None, json=None, content=body)
        assert (answer.status_code, error(answer)["code"]) == (status, code)

    async def test_too_many_files_and_too_many_bytes(self, site: Site) -> None:
        _, _, wanted = await version(site)
        site.state["artifact_desk"] = _with_limits(site, files_max=3, bytes_max=1_215)
        many, large = await post(site, wanted), await post(site, wanted[:1] + wanted[3:])
        assert (many.status_code, error(many)["message"]) == (413, "A bundle may have 3 files at most.")
        assert large.status_code == 200
        site.state["artifact_desk"] = _with_limits(site, files_max=4, bytes_max=1_215)
        heavy = await post(site, wanted)
        assert (heavy.status_code, error(heavy)["message"]) == (
            413,
            "These files have 1216 bytes; a bundle may have 1215.",
        )


class TestNarrowed:
    async def test_each_file_is_cut(self, site: Site) -> None:
        _, version_id, grant_id = await narrowed(site, {"a.csv": CUSTOMERS, "b.csv": CUSTOMERS})
        answer = await post(site, await ids(site, version_id), by="paul")
        assert unpacked(answer.content) == {"a.csv": IDS, "b.csv": IDS}
        intent, outcome = await reads(site)
        said = {
            "limits": {"columns": ["id"], "firstRows": None, "millionths": None},
            "digests": [digest(IDS), digest(IDS)],
        }
        assert (intent.access_grant_id, intent.rows, intent.bytes, intent.after) == (grant_id, 6, 18, said)
        assert outcome.after == {**said, "filesSent": 2}

    async def test_a_file_that_cannot_be_cut_refuses_the_whole_and_is_named(self, site: Site) -> None:
        _, version_id, _ = await narrowed(site, {"a.csv": CUSTOMERS, "b.bin": CUSTOMERS})
        answer = await post(site, await ids(site, version_id), by="paul")
        assert (answer.status_code, error(answer)["reason"]) == (403, "FORMAT_NOT_FILTERABLE")
        assert "b.bin cannot be cut" in error(answer)["message"]
        assert [event.outcome for event in await reads(site)] == ["REFUSED"]

    async def test_what_takes_long_is_asked_for_again(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, version_id, _ = await narrowed(site, {"a.csv": CUSTOMERS, "b.csv": CUSTOMERS})
        wanted = await ids(site, version_id)
        monkeypatch.setattr(bundles, "PATIENCE_SECONDS", -1)
        answer = await post(site, wanted, by="paul")
        assert (answer.status_code, error(answer)["code"]) == (503, StillCutting.code)
        assert "0 of 2 so far" in error(answer)["message"]


class TestBudgets:
    async def test_count_the_whole_before_it_leaves(self, site: Site) -> None:
        dataset_id, _, wanted = await version(site)
        await limit(site, dataset_id, bytes_max=1_215)
        answer = await post(site, wanted)
        assert (answer.status_code, error(answer)["code"]) == (403, "READ_BUDGET_CROSSED")
        assert [event.outcome for event in await reads(site)] == ["REFUSED"]
        assert len(await site.estate.rows(AccessAlert)) == 1
        assert await site.estate.rows(ReadCounter) == []
        assert (await post(site, wanted[1:])).status_code == 200
        await reads(site)
        assert [(row.rows, row.bytes) for row in await site.estate.rows(ReadCounter)] == [(9, 516)]


class TestJobs:
    async def test_read_their_inputs_alone(self, site: Site) -> None:
        dataset_id, version_id, wanted = await version(site)
        await grant_to_quality(site, dataset_id)
        job = site.jobs["job"] = site.estate.house.job("quality", "paul")
        refused = await post(site, wanted, by="job")
        assert (refused.status_code, error(refused)["reason"]) == (403, "NOT_AN_INPUT")
        site.inputs[job.id, version_id] = JobInput(purpose="quality")
        assert unpacked((await post(site, wanted, by="job")).content) == FILES
        _, intent, _ = await reads(site)
        assert (intent.actor_kind, intent.purpose) == ("JOB", "quality")


class TestWhatEndsInTheMiddle:
    async def test_bytes_that_are_lost_before_any_left(self, site: Site) -> None:
        _, _, wanted = await version(site)
        await site.estate.store.delete([blob_key(digest(FILES["z.bin"]))])
        answer = await post(site, wanted)
        assert (answer.status_code, error(answer)["code"]) == (503, "BYTES_LOST")
        _, outcome = await reads(site)
        assert (outcome.outcome, outcome.bytes, outcome.after) == ("ABORTED", 0, {"filesSent": 0})
        assert [(row.rows, row.bytes) for row in await site.estate.rows(ReadCounter)] == [(0, 0)]

    async def test_a_store_that_fails_is_told_by_what_left(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, _, wanted = await version(site)
        monkeypatch.setattr(bundles, "CHUNK_BYTES", 600)  # each message takes a file
        original = site.estate.store.read

        def failing(key: str, *, start: int, end: int) -> Any:
            async def chunks() -> Any:
                async for chunk in original(key, start=start, end=300):
                    yield chunk
                raise ArtifactStoreUnavailable("The artifact store cannot be used at the moment.")

            return chunks() if end == 700 else original(key, start=start, end=end)

        site.estate.store.read = failing  # type: ignore[method-assign]
        with pytest.raises(httpx.RemoteProtocolError):
            await post(site, [wanted[3], wanted[0]])
        _, outcome = await reads(site)
        assert (outcome.outcome, outcome.bytes, outcome.after) == ("ABORTED", 812, {"filesSent": 1})
        assert [(row.rows, row.bytes) for row in await site.estate.rows(ReadCounter)] == [(5, 812)]

    async def test_a_withdrawal_cuts_it_off(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sending, "LOOKS_EVERY_SECONDS", 0.01)
        dataset_id, _, wanted = await version(site)
        grant_id = await grant_to_quality(site, dataset_id)
        original = site.estate.store.get

        async def withdrawn_meanwhile(key: str) -> bytes:
            if key == blob_key(digest(FILES["z.bin"])):
                async with site.estate.database.transaction() as session:
                    mia, at = site.estate.actor("mia"), site.estate.clock.now()
                    await withdraw_access(
                        session, mia, access_grant_id=grant_id, reason="Enough.", at=at, new_id=new_id
                    )
                await asyncio.Event().wait()
            return await original(key)

        monkeypatch.setattr(site.estate.store, "get", withdrawn_meanwhile)
        monkeypatch.setattr(bundles, "CHUNK_BYTES", 800)
        monkeypatch.setattr(bundles, "READ_AHEAD_MAX", 1)  # z.bin is fetched once the other three have left
        with pytest.raises(httpx.RemoteProtocolError):
            await post(site, wanted, by="paul")
        event = await _outcome(site)
        assert (event.outcome, event.reason_code, event.after) == ("ABORTED", "ACCESS_ENDED", {"filesSent": 3})
        assert event.bytes == 704


async def _outcome(site: Site) -> AuditEvent:
    await reads(site)
    return next(event for event in await reads_now(site) if event.outcome == "ABORTED")


def _with_limits(site: Site, **limits: int) -> Any:
    return replace(site.state["artifact_desk"], bundle_limits=BundleLimits(**limits))
