"""Downloads under a narrowed grant: only what was granted leaves, with sizes, ranges and tags of its own."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from registry.access.narrowing import Narrowing, SampleSpec
from registry.datasets.versions import ColumnSpec
from registry.minimisation import filtering
from registry.minimisation.filtering import KEPT_FOR, sweep_filtered
from registry.minimisation.tables import FilteredFile
from tests.registry.estate import approved, asked, dataset_ref, digest
from tests.registry.http.conftest import Site
from tests.registry.http.reading import address, get, reads

CUSTOMERS = b"id,name,city\n1,Ada,London\n2,Bob,Paris\n3,Cyd,Rome\n"
IDS = b"id\n1\n2\n3\n"
COLUMNS = ("id", "name", "city")


async def narrowed(site: Site, files: dict[str, bytes] | None = None, **limits: Any) -> tuple[UUID, UUID, UUID]:
    """Customers whose granted part Paul of Quality reads: data set, version, grant."""
    dataset_id = await site.estate.dataset()
    columns = [ColumnSpec(name=name, type="text") for name in COLUMNS]
    version_id = await site.estate.stored(dataset_id, files or {"a.csv": CUSTOMERS}, columns=columns)
    async with site.estate.database.transaction() as session:
        site.estate.house.session = session
        request_id = await asked(site.estate.house, [dataset_ref(dataset_id)])
        grant_id = await approved(site.estate.house, request_id, narrow=Narrowing(**(limits or {"columns": ["id"]})))
    return dataset_id, version_id, grant_id


class TestColumns:
    async def test_only_what_was_granted_leaves_and_is_recorded(self, site: Site) -> None:
        _, version_id, grant_id = await narrowed(site)
        answer = await get(site, await address(site, version_id, "a.csv"), by="paul")
        assert (answer.status_code, answer.content) == (200, IDS)
        assert (answer.headers["content-length"], answer.headers["etag"]) == ("9", f'"{digest(IDS)}"')
        intent, outcome = await reads(site)
        assert [event.outcome for event in (intent, outcome)] == ["STARTED", "COMPLETED"]
        for event in (intent, outcome):
            assert (event.access_grant_id, event.rows, event.bytes) == (grant_id, 3, 9)
            assert event.after == {
                "limits": {"columns": ["id"], "firstRows": None, "millionths": None},
                "sha256": digest(IDS),
            }

    async def test_the_owners_read_all_of_it(self, site: Site) -> None:
        _, version_id, _ = await narrowed(site)
        assert (await get(site, await address(site, version_id, "a.csv"))).content == CUSTOMERS
        assert await site.estate.rows(FilteredFile) == []

    async def test_a_wider_grant_of_the_same_reader_counts(self, site: Site) -> None:
        dataset_id, version_id, _ = await narrowed(site)
        async with site.estate.database.transaction() as session:
            site.estate.house.session = session
            await approved(site.estate.house, await asked(site.estate.house, [dataset_ref(dataset_id)]))
        assert (await get(site, await address(site, version_id, "a.csv"), by="paul")).content == CUSTOMERS

    @pytest.mark.parametrize(
        ("asked_for", "want", "content_range"),
        [("bytes=0-1", IDS[:2], "bytes 0-1/9"), ("bytes=-2", IDS[-2:], "bytes 7-8/9")],
    )
    async def test_ranges_are_of_what_is_left(
        self, site: Site, asked_for: str, want: bytes, content_range: str
    ) -> None:
        _, version_id, _ = await narrowed(site)
        url = await address(site, version_id, "a.csv")
        answer = await get(site, url, by="paul", Range=asked_for)
        assert (answer.status_code, answer.content, answer.headers["content-range"]) == (206, want, content_range)
        unchanged = await get(site, url, by="paul", **{"If-None-Match": f'"{digest(IDS)}"'})
        assert unchanged.status_code == 304
        whole = await get(site, url, by="paul", **{"If-None-Match": f'"{digest(CUSTOMERS)}"'})
        assert (whole.status_code, whole.content) == (200, IDS)

    async def test_what_lies_behind_its_end_is_nowhere(self, site: Site) -> None:
        _, version_id, _ = await narrowed(site)
        answer = await get(site, await address(site, version_id, "a.csv"), by="paul", Range="bytes=9-")
        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */9")


class TestSample:
    async def test_the_first_rows(self, site: Site) -> None:
        _, version_id, _ = await narrowed(site, columns=["name"], sample=SampleSpec(first_rows=2))
        answer = await get(site, await address(site, version_id, "a.csv"), by="paul")
        assert answer.content == b"name\nAda\nBob\n"

    async def test_a_fraction_is_the_same_each_time(self, site: Site) -> None:
        rows = b"id,name,city\n" + b"".join(b"%d,n,c\n" % number for number in range(300))
        _, version_id, _ = await narrowed(site, {"a.csv": rows}, sample=SampleSpec(fraction=0.1))
        url = await address(site, version_id, "a.csv")
        first = (await get(site, url, by="paul")).content
        await sweep_filtered(site.estate.database, site.estate.store, at=site.estate.clock.now() + 2 * KEPT_FOR)
        assert (await get(site, url, by="paul")).content == first
        assert 10 <= first.count(b"\n") <= 60


class TestWhatCannotBeCut:
    @pytest.mark.parametrize(
        ("path", "content", "code"),
        [
            ("a.bin", CUSTOMERS, "FORMAT_NOT_FILTERABLE"),
            ("a.csv", CUSTOMERS + b"4,Dan\n", "DAMAGED_FILE"),
            ("a.parquet", b"PAR1" + bytes(50) + b"PAR1", "DAMAGED_FILE"),
            ("other.csv", b"salary\n1\n", "NO_GRANTED_COLUMN"),
        ],
    )
    async def test_nothing_of_it_leaves(self, site: Site, path: str, content: bytes, code: str) -> None:
        _, version_id, _ = await narrowed(site, {path: content})
        answer = await get(site, await address(site, version_id, path), by="paul")
        assert answer.status_code == 403
        error = answer.json()["error"]
        assert (error["code"], error["reason"]) == ("ACCESS_REFUSED", code)
        assert error["message"].endswith("Ask the stewards for access to the whole of it with requestAccess.")
        (event,) = await reads(site)
        assert (event.outcome, event.reason_code, event.bytes) == ("REFUSED", "ACCESS_REFUSED", None)
        assert await site.estate.rows(FilteredFile) == []

    async def test_a_process_that_ends_without_an_answer(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, version_id, _ = await narrowed(site)
        monkeypatch.setattr(filtering, "_PROGRAM", "registry.minimisation.nothing")
        answer = await get(site, await address(site, version_id, "a.csv"), by="paul")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "DAMAGED_FILE")

    async def test_a_process_that_does_not_end(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, version_id, _ = await narrowed(site)
        monkeypatch.setattr(filtering, "CUT_SECONDS_MAX", 0)
        answer = await get(site, await address(site, version_id, "a.csv"), by="paul")
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "NOT_FILTERED_IN_TIME")


class TestAtOnce:
    async def test_many_who_ask_wait_for_one_cut(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, version_id, _ = await narrowed(site)
        cuts: list[str] = []
        original = filtering._cut

        async def counted(file: Any, *rest: Any) -> int:
            cuts.append(file.path)
            return await original(file, *rest)

        monkeypatch.setattr(filtering, "_cut", counted)
        url = await address(site, version_id, "a.csv")
        answers = await asyncio.gather(*(get(site, url, by="paul") for _ in range(5)))
        assert [answer.content for answer in answers] == [IDS] * 5
        assert cuts == ["a.csv"]

    async def test_who_waits_too_long_asks_again(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, version_id, _ = await narrowed(site)
        monkeypatch.setattr(filtering, "PATIENCE_SECONDS", 0)
        url = await address(site, version_id, "a.csv")
        async with asyncio.timeout(30):
            while (answer := await get(site, url, by="paul")).status_code == 503:
                assert (answer.json()["error"]["code"], answer.headers["retry-after"]) == ("BEING_FILTERED", "5")
        assert answer.content == IDS

    async def test_too_many_files_at_once(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, version_id, _ = await narrowed(site)
        monkeypatch.setattr(filtering, "WAITING_MAX", 0)
        answer = await get(site, await address(site, version_id, "a.csv"), by="paul")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "BEING_FILTERED")

    async def test_access_that_changes_while_it_is_cut(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        dataset_id, version_id, _ = await narrowed(site)
        original = filtering._cut

        async def widened(*given: Any) -> int:
            async with site.estate.database.transaction() as session:
                site.estate.house.session = session
                await approved(site.estate.house, await asked(site.estate.house, [dataset_ref(dataset_id)]))
            return await original(*given)

        monkeypatch.setattr(filtering, "_cut", widened)
        answer = await get(site, await address(site, version_id, "a.csv"), by="paul")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ACCESS_CHANGED")


class TestSweep:
    async def test_what_is_old_goes_and_is_made_again(self, site: Site) -> None:
        _, version_id, _ = await narrowed(site)
        url = await address(site, version_id, "a.csv")
        await get(site, url, by="paul")
        (row,) = await site.estate.rows(FilteredFile)
        assert (row.rows, row.size_bytes, row.sha256) == (3, 9, digest(IDS))
        at = site.estate.clock.now()
        assert await sweep_filtered(site.estate.database, site.estate.store, at=at + KEPT_FOR) == 0
        assert await sweep_filtered(site.estate.database, site.estate.store, at=at + 2 * KEPT_FOR) == 1
        assert [key for key in await site.estate.keys() if key.startswith("filtered")] == []
        assert (await get(site, url, by="paul")).content == IDS

    async def test_bytes_that_somebody_removed_are_made_again(self, site: Site) -> None:
        _, version_id, _ = await narrowed(site)
        url = await address(site, version_id, "a.csv")
        await get(site, url, by="paul")
        (key,) = [key for key in await site.estate.keys() if key.startswith("filtered")]
        await site.estate.store.delete([key])
        assert (await get(site, url, by="paul")).content == IDS
