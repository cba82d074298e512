"""What people see of a table: columns with types, the first rows as text, nothing longer than it may be."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.minimisation import showing
from registry.minimisation.cutting import Uncuttable
from registry.minimisation.showing import CELL_CHARACTERS_MAX, SHOWN_BYTES_MAX, show_file


def show(folder: Path, content: str | pa.Table, rows_max: int = 2) -> tuple[int, dict[str, Any]]:
    part, target = folder / "part", folder / "target"
    if isinstance(content, str):
        part.write_text(content, encoding="utf-8", newline="")
    else:
        pq.write_table(content, part)
    count = show_file(part, target, path="a.csv" if isinstance(content, str) else "a.pq", rows_max=rows_max)
    return count, json.loads(target.read_bytes())


class TestCsv:
    @pytest.mark.parametrize(("rows_max", "more"), [(1, True), (2, False), (3, False)])
    def test_rows_are_text_and_their_number_has_an_end(self, tmp_path: Path, rows_max: int, more: bool) -> None:
        rows = [["1", "two\u2028\nlines"], ["2", ""]][:rows_max]
        assert show(tmp_path, 'id,note\n1,"two\u2028\nlines"\n2,""\n', rows_max) == (
            len(rows),
            {
                "columns": [{"name": "id", "type": "text"}, {"name": "note", "type": "text"}],
                "rows": rows,
                "hasMoreRows": more,
                "shortenedCells": 0,
            },
        )

    def test_a_long_cell_is_shortened(self, tmp_path: Path) -> None:
        longest = "x" * CELL_CHARACTERS_MAX
        _, told = show(tmp_path, f"a,b\n{longest},{longest}x\n")
        assert told["rows"] == [[longest, "x" * (CELL_CHARACTERS_MAX - 1) + "…"]]
        assert told["shortenedCells"] == 1

    def test_rows_end_where_the_answer_would_be_too_large(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(showing, "SHOWN_BYTES_MAX", 45)
        count, told = show(tmp_path, "a\n12345\n67890\n")
        assert (count, told["rows"], told["hasMoreRows"]) == (1, [["12345"]], True)

    def test_columns_that_are_too_many(self, tmp_path: Path) -> None:
        with pytest.raises(Uncuttable, match="Its columns alone are more than") as caught:
            show(tmp_path, "x" * SHOWN_BYTES_MAX + "\n1\n")
        assert caught.value.code == "TOO_WIDE"


class TestParquet:
    @pytest.mark.parametrize(
        ("column", "kind", "want"),
        [
            (pa.array([2**60, None]), "int64", [str(2**60), None]),
            (pa.array([1.0, float("nan")]), "double", ["1.0", "nan"]),
            (pa.array([True, False]), "bool", ["true", "false"]),
            (pa.array(["ä", ""]), "string", ["ä", ""]),
            (pa.array([b"\x00\xff", b""]), "binary", ["00ff", ""]),
            (pa.array([Decimal("1.50"), None]), "decimal128(3, 2)", ["1.50", None]),
            (pa.array([1, 2], pa.timestamp("ns")), "timestamp[ns]", [
                "1970-01-01 00:00:00.000000001", "1970-01-01 00:00:00.000000002"]),
            (pa.array([datetime(2026, 1, 2, tzinfo=UTC)] * 2), "timestamp[us, tz=UTC]",
                ["2026-01-02 00:00:00.000000Z"] * 2),
            (pa.array([1, 2], pa.date32()), "date32[day]", ["1970-01-02", "1970-01-03"]),
            (pa.array([1, 2], pa.duration("s")), "duration[s]", ["1", "2"]),
            (pa.array([[1, None], []]), "list<element: int64>", ["[1, null]", "[]"]),
            (pa.array([{"b": "ä"}, None]), "struct<b: string>", ['{"b": "ä"}', None]),
            (pa.array([[1], [2]], pa.list_(pa.timestamp("ns"))), "list<element: timestamp[ns]>",
                ["(list<element: timestamp[ns]>)"] * 2),
        ],
    )  # fmt: skip
    def test_values_have_types(self, tmp_path: Path, column: pa.Array, kind: str, want: list[str | None]) -> None:
        assert show(tmp_path, pa.table({"a": column})) == (
            2,
            {
                "columns": [{"name": "a", "type": kind}],
                "rows": [[cell] for cell in want],
                "hasMoreRows": False,
                "shortenedCells": 0,
            },
        )

    def test_bytes_are_shortened_too(self, tmp_path: Path) -> None:
        _, told = show(tmp_path, pa.table({"a": [bytes(CELL_CHARACTERS_MAX)]}))
        assert (told["rows"], told["shortenedCells"]) == ([["0" * (CELL_CHARACTERS_MAX - 1) + "…"]], 1)
