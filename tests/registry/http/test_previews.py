"""The first rows of a table, on the way of a download: decided, narrowed, counted and recorded."""

import asyncio
import io
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.access.narrowing import SampleSpec
from registry.datasets.tables import Dataset
from registry.http.previews import ROWS_DEFAULT
from registry.minimisation import filtering
from registry.minimisation.tables import FilteredFile
from registry.volume.tables import AccessAlert
from tests.registry.estate import digest
from tests.registry.http.conftest import Site
from tests.registry.http.reading import ASK, address, get, grant_to_quality, reads
from tests.registry.http.test_bulk_reads import counted, limit
from tests.registry.http.test_narrowed_downloads import CUSTOMERS, narrowed

TEXT_COLUMNS = [{"name": name, "type": "text"} for name in ("id", "name", "city")]
ROWS = [["1", "Ada", "London"], ["2", "Bob", "Paris"], ["3", "Cyd", "Rome"]]


def parquet(rows: int = 3) -> bytes:
    written = io.BytesIO()
    names = [f"n{number}" for number in range(rows)]
    pq.write_table(pa.table({"id": list(range(rows)), "name": names, "city": [None] * rows}), written)
    return written.getvalue()


async def preview(site: Site, version_id: UUID, path: str, *, by: str = "carl", rows: Any = None) -> httpx.Response:
    """Asked for again while it is being made, which takes its time on a machine that does much else."""
    query = "" if rows is None else f"?rows={rows}"
    url = f"{await address(site, version_id, path)}/preview{query}"
    async with asyncio.timeout(120):
        while (answer := await get(site, url, by=by)).status_code == 503:
            assert answer.json()["error"]["code"] == "BEING_FILTERED"
    return answer


async def open_version(site: Site, path: str, content: bytes) -> tuple[UUID, UUID]:
    dataset_id = await site.estate.dataset()
    version_id = await site.estate.stored(dataset_id, {path: content})
    await grant_to_quality(site, dataset_id)
    return dataset_id, version_id


def table(columns: list[dict[str, str]], rows: Sequence[Sequence[str | None]], *, more: bool = False) -> dict[str, Any]:
    return {"columns": columns, "rows": rows, "hasMoreRows": more, "shortenedCells": 0}


class TestWhole:
    @pytest.mark.parametrize(("rows", "more"), [(None, False), (1, True), (2, True), (3, False), (100, False)])
    async def test_csv(self, site: Site, rows: int | None, more: bool) -> None:
        _, version_id = await open_version(site, "a.csv", CUSTOMERS)
        answer = await preview(site, version_id, "a.csv", by="paul", rows=rows)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.json() == table(TEXT_COLUMNS, ROWS[:rows], more=more)

    async def test_parquet(self, site: Site) -> None:
        _, version_id = await open_version(site, "a.parquet", parquet())
        answer = await preview(site, version_id, "a.parquet", by="paul", rows=2)
        columns = [{"name": name, "type": kind} for name, kind in (("id", "int64"), ("name", "string"))]
        columns.append({"name": "city", "type": "null"})
        assert answer.json() == table(columns, [["0", "n0", None], ["1", "n1", None]], more=True)

    async def test_twenty_rows_where_nobody_says_how_many(self, site: Site) -> None:
        _, version_id = await open_version(site, "a.pq", parquet(50))
        told = (await preview(site, version_id, "a.pq", by="paul")).json()
        assert (len(told["rows"]), told["hasMoreRows"]) == (ROWS_DEFAULT, True)

    async def test_is_recorded_with_what_left(self, site: Site) -> None:
        _, version_id = await open_version(site, "a.csv", CUSTOMERS)
        answer = await preview(site, version_id, "a.csv", by="paul", rows=2)
        intent, outcome = await reads(site)
        assert [event.outcome for event in (intent, outcome)] == ["STARTED", "COMPLETED"]
        for event in (intent, outcome):
            assert (event.rows, event.bytes, event.purpose) == (2, len(answer.content), "quality")
            assert event.after == {"preview": {"rowsMax": 2}, "sha256": digest(answer.content)}

    async def test_of_a_large_csv_the_beginning_is_enough(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(filtering, "BEGINNING_BYTES", len(CUSTOMERS) - 2)
        _, version_id = await open_version(site, "a.csv", CUSTOMERS)
        ends: list[int] = []
        original = site.estate.store.read

        def noted(key: str, *, start: int, end: int) -> Any:
            if not key.startswith("filtered"):
                ends.append(end)
            return original(key, start=start, end=end)

        monkeypatch.setattr(site.estate.store, "read", noted)
        assert (await preview(site, version_id, "a.csv", by="paul", rows=2)).json()["rows"] == ROWS[:2]
        assert ends == [len(CUSTOMERS) - 2]
        assert (await preview(site, version_id, "a.csv", by="paul", rows=3)).json() == table(TEXT_COLUMNS, ROWS)
        assert ends == [len(CUSTOMERS) - 2, len(CUSTOMERS) - 2, len(CUSTOMERS)]

    async def test_is_made_once(self, site: Site) -> None:
        _, version_id = await open_version(site, "a.csv", CUSTOMERS)
        answers = [(await preview(site, version_id, "a.csv", by="paul", rows=2)).content for _ in range(2)]
        assert answers[0] == answers[1]
        assert len(await site.estate.rows(FilteredFile)) == 1


class TestNarrowed:
    @pytest.mark.parametrize(
        ("limits", "rows", "want"),
        [
            ({"columns": ["name"]}, 2, table(TEXT_COLUMNS[1:2], [["Ada"], ["Bob"]], more=True)),
            ({"sample": SampleSpec(first_rows=2)}, 100, table(TEXT_COLUMNS, ROWS[:2])),
            ({"columns": ["id"], "sample": SampleSpec(first_rows=2)}, 1, table(TEXT_COLUMNS[:1], [["1"]], more=True)),
        ],
    )
    async def test_only_what_was_granted_is_shown(
        self, site: Site, limits: dict[str, Any], rows: int, want: dict[str, Any]
    ) -> None:
        _, version_id, grant_id = await narrowed(site, **limits)
        answer = await preview(site, version_id, "a.csv", by="paul", rows=rows)
        assert answer.json() == want
        intent, outcome = await reads(site)
        for event in (intent, outcome):
            assert (event.access_grant_id, event.rows, event.bytes) == (
                grant_id,
                len(want["rows"]),
                len(answer.content),
            )
            assert event.after is not None
            assert event.after["preview"] == {"rowsMax": rows}
            assert event.after["limits"]["columns"] == limits.get("columns")

    async def test_of_parquet(self, site: Site) -> None:
        _, version_id, _ = await narrowed(
            site, {"a.parquet": parquet(30)}, columns=["id"], sample=SampleSpec(first_rows=4)
        )
        told = (await preview(site, version_id, "a.parquet", by="paul", rows=100)).json()
        assert told == table([{"name": "id", "type": "int64"}], [["0"], ["1"], ["2"], ["3"]])

    async def test_the_rows_of_a_fraction_are_those_of_the_download(self, site: Site) -> None:
        content = b"id,name,city\n" + b"".join(b"%d,n,c\n" % number for number in range(300))
        _, version_id, _ = await narrowed(site, {"a.csv": content}, sample=SampleSpec(fraction=0.1))
        whole = (await get(site, await address(site, version_id, "a.csv"), by="paul")).text.splitlines()[1:]
        told = (await preview(site, version_id, "a.csv", by="paul", rows=5)).json()
        assert [",".join(row) for row in told["rows"]] == whole[:5]
        assert told["hasMoreRows"] is True

    @pytest.mark.parametrize(
        ("path", "content", "code"),
        [("a.csv", CUSTOMERS + b"4,Dan\n", "DAMAGED_FILE"), ("other.csv", b"salary\n1\n", "NO_GRANTED_COLUMN")],
    )
    async def test_what_a_download_would_not_give_is_not_shown(
        self, site: Site, path: str, content: bytes, code: str
    ) -> None:
        """Damage behind the rows that would be shown counts too."""
        _, version_id, _ = await narrowed(site, {path: content})
        answer = await preview(site, version_id, path, by="paul", rows=1)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["reason"]) == (403, "ACCESS_REFUSED", code)
        (event,) = await reads(site)
        assert (event.outcome, event.reason_code, event.bytes) == ("REFUSED", "ACCESS_REFUSED", None)


class TestRefused:
    async def test_without_a_grant(self, site: Site) -> None:
        dataset_id = await site.estate.dataset()
        version_id = await site.estate.stored(dataset_id, {"a.csv": CUSTOMERS})
        answer = await preview(site, version_id, "a.csv", by="paul")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ACCESS_REFUSED")
        assert ASK in answer.json()["error"]["message"]
        (event,) = await reads(site)
        assert (event.outcome, event.reason_code) == ("REFUSED", "ACCESS_REFUSED")
        assert await site.estate.rows(FilteredFile) == []

    async def test_what_is_not_visible_is_not_there(self, site: Site) -> None:
        dataset_id = await site.estate.dataset()
        version_id = await site.estate.stored(dataset_id, {"notes.txt": b"x"})
        async with site.estate.database.transaction() as session:
            (await session.get_one(Dataset, dataset_id)).visibility = "TEAM"
        assert (await preview(site, version_id, "notes.txt", by="paul")).status_code == 404

    @pytest.mark.parametrize("rows", ["0", "101", "-1", "", "ten", "1.5", "²", "9" * 5_000])
    async def test_a_number_of_rows_that_no_preview_has(self, site: Site, rows: str) -> None:
        _, version_id = await open_version(site, "a.csv", CUSTOMERS)
        answer = await preview(site, version_id, "a.csv", by="paul", rows=rows)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_ROWS")
        assert answer.json()["error"]["message"].startswith("A preview has 1 to 100 rows; ")
        assert await reads(site) == []

    @pytest.mark.parametrize(
        ("path", "content", "reason"),
        [
            ("notes.txt", b"x", "NOT_A_TABLE"),
            ("a.csv.gz", CUSTOMERS, "NOT_A_TABLE"),
            ("a.csv", b"id,name\n1\n", "DAMAGED_FILE"),
            ("a.csv", b"id,id\n1,2\n", "COLUMNS_AMBIGUOUS"),
            ("a.parquet", b"PAR1" + bytes(50) + b"PAR1", "DAMAGED_FILE"),
            ("a.parquet", parquet()[:-20], "DAMAGED_FILE"),
        ],
    )
    async def test_what_has_no_rows_to_show(self, site: Site, path: str, content: bytes, reason: str) -> None:
        _, version_id = await open_version(site, path, content)
        answer = await preview(site, version_id, path, by="paul")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["reason"]) == (400, "NO_PREVIEW", reason)
        assert error["message"].startswith(f"{path} ")
        assert await reads(site) == []
        assert await site.estate.rows(FilteredFile) == []

    async def test_without_a_name(self, site: Site) -> None:
        _, version_id = await open_version(site, "a.csv", CUSTOMERS)
        answer = await get(site, f"{await address(site, version_id, 'a.csv')}/preview?rows=0", by=None)
        assert answer.status_code == 401


class TestBudget:
    async def test_counts_the_rows_that_were_shown_and_blocks(self, site: Site) -> None:
        dataset_id, version_id = await open_version(site, "a.csv", CUSTOMERS)
        await limit(site, dataset_id, rows_max=3)
        first = await preview(site, version_id, "a.csv", by="paul", rows=2)
        assert first.status_code == 200
        assert await counted(site) == [("PERSON", 2, len(first.content))]
        refused = await preview(site, version_id, "a.csv", by="paul", rows=2)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "READ_BUDGET_CROSSED")
        assert await counted(site) == [("PERSON", 2, len(first.content))]
        (alert,) = await site.estate.rows(AccessAlert)
        assert (alert.action, alert.rows) == ("BLOCK", 4)
        assert [event.outcome for event in await reads(site)] == ["STARTED", "COMPLETED", "REFUSED"]
