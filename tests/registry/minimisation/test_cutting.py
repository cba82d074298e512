"""Cutting: values stay as they are, what was cut is in no byte of the result, and what is damaged is refused whole."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.minimisation.cutting import LINE_CHARACTERS_MAX, Cut, Uncuttable, cut_file
from registry.minimisation.filters import DataFilter, data_filter

SEED = bytes(32)
CUSTOMERS = 'id,name,city\n1,"Ada, Countess",London\n2,"say ""hi""",Paris\n3,,Rome\n'


def limits(
    columns: list[str] | None = None, first_rows: int | None = None, millionths: int | None = None
) -> DataFilter:
    return data_filter(columns, first_rows, millionths) or DataFilter()


def cut(folder: Path, name: str, content: bytes, wanted: DataFilter) -> tuple[Cut, bytes]:
    source, target = folder / "source", folder / "target"
    source.write_bytes(content)
    done = cut_file(source, target, path=name, seed=SEED, wanted=wanted)
    return done, target.read_bytes()


def parquet(folder: Path, rows: int = 20_000, **given: Any) -> bytes:
    secret = [f"secret-{number}" for number in range(rows)]
    table = pa.table({"id": list(range(rows)), "name": secret, "city": ["Rome"] * rows})
    table = table.replace_schema_metadata({"pandas": "secret-0"})
    pq.write_table(table, folder / "made", **given)
    return (folder / "made").read_bytes()


class TestCsv:
    @pytest.mark.parametrize(
        ("wanted", "want", "rows"),
        [
            (limits(["id", "city"]), "id,city\n1,London\n2,Paris\n3,Rome\n", 3),
            (limits(["name"]), 'name\n"Ada, Countess"\n"say ""hi"""\n""\n', 3),
            (limits(["city", "nowhere"], first_rows=2), "city\nLondon\nParis\n", 2),
            (limits(first_rows=1), 'id,name,city\n1,"Ada, Countess",London\n', 1),
            (limits(first_rows=9), CUSTOMERS, 3),
            (limits(["id"], millionths=1), "id\n", 0),
        ],
    )
    def test_table(self, tmp_path: Path, wanted: DataFilter, want: str, rows: int) -> None:
        done, written = cut(tmp_path, "a.csv", CUSTOMERS.encode(), wanted)
        assert (done, written.decode()) == (Cut(rows_read=3, rows=rows), want)

    def test_a_mark_at_the_beginning_returns_in_the_middle_of_lines_and_empty_lines(self, tmp_path: Path) -> None:
        content = b'\xef\xbb\xbf\r\nid,note\r\n1,"two\r\nlines"\r\n\r\n2,x'
        done, written = cut(tmp_path, "A.CSV", content, limits(["note"]))
        assert (done.rows, written) == (2, b'note\n"two\r\nlines"\nx\n')

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (b"", "DAMAGED_FILE"),
            (b"\n\n", "DAMAGED_FILE"),
            (b"id,name\n1,a\n2\n", "DAMAGED_FILE"),
            (b"id,name\n1,a\n2,b,c\n", "DAMAGED_FILE"),
            (b'id,name\n1,"a\n2,b\n', "DAMAGED_FILE"),
            (b'id,name\n1,"a"b\n', "DAMAGED_FILE"),
            (b"id,name\n1,\xff\n", "DAMAGED_FILE"),
            (b"id,name\n1,\x00\n", "DAMAGED_FILE"),
            (b"id,id\n1,2\n", "COLUMNS_AMBIGUOUS"),
            (b"name\na\n", "NO_GRANTED_COLUMN"),
            (b"id;name\n1;a\n", "NO_GRANTED_COLUMN"),
            (b"PK\x03\x04\x00", "DAMAGED_FILE"),
        ],
    )
    def test_refused(self, tmp_path: Path, content: bytes, code: str) -> None:
        with pytest.raises(Uncuttable) as caught:
            cut(tmp_path, "a.csv", content, limits(["id"]))
        assert caught.value.code == code

    def test_damage_behind_the_last_row_of_a_sample(self, tmp_path: Path) -> None:
        with pytest.raises(Uncuttable, match="Row 3 has 1 fields where the header has 2"):
            cut(tmp_path, "a.csv", b"id,name\n1,a\n2,b\n3\n", limits(["id"], first_rows=1))

    def test_a_line_that_does_not_end(self, tmp_path: Path) -> None:
        with pytest.raises(Uncuttable, match="Line 2 is longer than"):
            cut(tmp_path, "a.csv", b"id\n" + b"1" * (LINE_CHARACTERS_MAX + 1), limits(["id"]))


class TestParquet:
    def test_columns_and_their_traces_are_gone(self, tmp_path: Path) -> None:
        done, written = cut(tmp_path, "a.parquet", parquet(tmp_path), limits(["city", "id"]))
        assert done == Cut(rows_read=20_000, rows=20_000)
        assert b"secret" not in written
        table = pq.read_table(pa.BufferReader(written))
        assert table.schema.names == ["id", "city"]
        assert table.column("id").to_pylist() == list(range(20_000))

    def test_the_first_rows_leave_no_statistics_of_the_others(self, tmp_path: Path) -> None:
        done, written = cut(tmp_path, "a.PQ", parquet(tmp_path), limits(first_rows=2))
        assert done == Cut(rows_read=20_000, rows=2)
        group = pq.ParquetFile(pa.BufferReader(written)).metadata.row_group(0)
        assert (group.num_rows, group.column(0).statistics.max) == (2, 1)
        assert b"secret-2" not in written

    @pytest.mark.parametrize("depth", ["plain", "list", "large list", "fixed list", "struct", "map"])
    def test_a_dictionary_leaves_no_values_of_the_other_rows(self, tmp_path: Path, depth: str) -> None:
        names = pa.array([f"secret-{number}" for number in range(20)]).dictionary_encode()
        each = pa.array(range(21), pa.int32())
        column = {
            "plain": lambda: names,
            "list": lambda: pa.ListArray.from_arrays(each, names),
            "large list": lambda: pa.LargeListArray.from_arrays(each.cast(pa.int64()), names),
            "fixed list": lambda: pa.FixedSizeListArray.from_arrays(names, 1),
            "struct": lambda: pa.StructArray.from_arrays([names], ["in"]),
            "map": lambda: pa.MapArray.from_arrays(each, names.cast(pa.string()), names),
        }[depth]()
        pq.write_table(pa.table({"name": column}), tmp_path / "made")
        _, written = cut(tmp_path, "a.parquet", (tmp_path / "made").read_bytes(), limits(first_rows=2))
        assert pq.read_table(tmp_path / "target")["name"].to_pylist() == column.to_pylist()[:2]
        assert [number for number in range(20) if f"secret-{number}".encode() in written] == [0, 1]

    def test_a_dictionary_in_what_cannot_be_spelled_out(self, tmp_path: Path) -> None:
        names = pa.array(["secret-0", "secret-1"]).dictionary_encode()
        hidden = pa.ExtensionArray.from_storage(pa.opaque(names.type, "name", "vendor"), names)
        pq.write_table(pa.table({"name": hidden}), tmp_path / "made")
        with pytest.raises(Uncuttable) as refusal:
            cut(tmp_path, "a.parquet", (tmp_path / "made").read_bytes(), limits(first_rows=1))
        assert refusal.value.code == "DICTIONARY_NOT_FILTERABLE"

    def test_a_fraction_is_the_same_as_of_the_same_rows_in_csv(self, tmp_path: Path) -> None:
        wanted = limits(["id"], millionths=100_000)
        _, of_parquet = cut(tmp_path, "a.parquet", parquet(tmp_path), wanted)
        content = "id\n" + "".join(f"{number}\n" for number in range(20_000))
        _, of_csv = cut(tmp_path, "a.csv", content.encode(), wanted)
        ids = pq.read_table(pa.BufferReader(of_parquet)).column("id").to_pylist()
        assert [int(line) for line in of_csv.decode().split()[1:]] == ids
        assert len(ids) == 1_976

    def test_many_row_groups_are_closed_as_they_fill(self, tmp_path: Path) -> None:
        _, written = cut(tmp_path, "a.parquet", parquet(tmp_path, 140_000, row_group_size=1_000), limits(["id"]))
        table = pq.read_table(pa.BufferReader(written))
        assert table.column("id").to_pylist() == list(range(140_000))

    def test_no_row_is_left(self, tmp_path: Path) -> None:
        done, written = cut(tmp_path, "a.parquet", parquet(tmp_path, 3), limits(["id"], millionths=1))
        assert (done.rows, pq.read_table(pa.BufferReader(written)).num_rows) == (0, 0)

    @pytest.mark.parametrize("keep", [0, 100, 5_000, -1])
    def test_cut_off(self, tmp_path: Path, keep: int) -> None:
        with pytest.raises(Uncuttable) as caught:
            cut(tmp_path, "a.parquet", parquet(tmp_path)[:keep], limits(["id"]))
        assert caught.value.code == "DAMAGED_FILE"

    def test_nested_columns_are_kept_whole(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"a": [{"b": 1, "c": 2}], "d": [3]}), tmp_path / "nested")
        _, written = cut(tmp_path, "a.parquet", (tmp_path / "nested").read_bytes(), limits(["a"]))
        assert pq.read_table(pa.BufferReader(written)).to_pylist() == [{"a": {"b": 1, "c": 2}}]

    def test_a_name_that_reads_as_a_path_into_another_column(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"a": [{"b": 1, "c": 2}], "a.b": [3]}), tmp_path / "nested")
        with pytest.raises(Uncuttable) as caught:
            cut(tmp_path, "a.parquet", (tmp_path / "nested").read_bytes(), limits(["a.b"]))
        assert caught.value.code == "COLUMNS_AMBIGUOUS"

    def test_none_of_the_columns(self, tmp_path: Path) -> None:
        with pytest.raises(Uncuttable) as caught:
            cut(tmp_path, "a.parquet", parquet(tmp_path), limits(["salary"]))
        assert caught.value.code == "NO_GRANTED_COLUMN"


class TestOtherFormats:
    @pytest.mark.parametrize("name", ["a.bin", "csv", "a.csv.gz", "a.parquet.zip", "notes.txt"])
    def test_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(Uncuttable) as caught:
            cut(tmp_path, name, CUSTOMERS.encode(), limits(["id"]))
        assert caught.value.code == "FORMAT_NOT_FILTERABLE"
