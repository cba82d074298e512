"""Cutting columns and rows out of one file on disk, a batch of rows at a time. Runs in a process of its own."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from registry.minimisation.filters import DataFilter

BATCH_ROWS = 8_192
GROUP_ROWS = 65_536
GROUP_BYTES = 64 * 1024 * 1024
"""A row group of what is written is closed at the first of the two."""
LINE_CHARACTERS_MAX = 16 * 1024 * 1024
"""A line, and a field, of CSV; longer ones are taken for damage, because they would have to be held at once."""
READ_BUFFER_BYTES = 1024 * 1024
_CSV = frozenset({".csv"})
_PARQUET = frozenset({".parquet", ".pq"})


class Uncuttable(Exception):
    """The file cannot be cut, so that nothing of it may leave; `code` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Cut:
    """How many rows the file had, as far as it was read, and how many were kept."""

    rows_read: int
    rows: int


def cut_file(source: Path, target: Path, *, path: str, seed: bytes, wanted: DataFilter) -> Cut:
    """Write to `target` what the filter leaves of `source`, which is called `path`. Raises Uncuttable."""
    if is_csv(path):
        return _cut_csv(source, target, seed, wanted)
    if is_table(path):
        return _cut_parquet(source, target, seed, wanted)
    raise Uncuttable("FORMAT_NOT_FILTERABLE", "Columns and rows can be cut out of .csv and .parquet files only.")


def is_csv(path: str) -> bool:
    """Whether a file of this name is taken for CSV."""
    return _ending(path) in _CSV


def is_table(path: str) -> bool:
    """Whether a file of this name is taken for one with columns and rows."""
    return _ending(path) in _CSV | _PARQUET


def _ending(path: str) -> str:
    return PurePosixPath(path.lower()).suffix


def _cut_csv(source: Path, target: Path, seed: bytes, wanted: DataFilter) -> Cut:
    """Fields keep their text; what is written is UTF-8 with commas, double quotes where needed, and line feeds."""
    csv.field_size_limit(LINE_CHARACTERS_MAX)
    with (
        source.open(encoding="utf-8-sig", newline="") as given,
        target.open("w", encoding="utf-8", newline="") as written,
    ):
        records = _records(given)
        header = next(records, None)
        if header is None:
            raise Uncuttable("DAMAGED_FILE", "The file has no header line that names its columns.")
        kept = _places(header, wanted)
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow([header[place] for place in kept])
        rows = read = 0
        # All of it is read, also after the last row that is kept: damage may mean that rows are not what they seem.
        # Only a preview of what is open in full ends early.
        for record in records:
            if wanted.opens_all and rows == wanted.rows_max:
                break
            if len(record) != len(header):
                message = f"Row {read + 1} has {len(record)} fields where the header has {len(header)}."
                raise Uncuttable("DAMAGED_FILE", message)
            if rows < wanted.rows_max and (wanted.sample is None or wanted.sample.holds(seed, read)):
                writer.writerow([record[place] for place in kept])
                rows += 1
            read += 1
        return Cut(rows_read=read, rows=rows)


def _records(given: TextIO) -> Iterator[list[str]]:
    """The header and the rows; empty lines are neither."""
    reader = csv.reader(_lines(given), strict=True)
    try:
        for record in reader:
            if record:
                yield record
    except UnicodeDecodeError as error:
        raise Uncuttable("DAMAGED_FILE", "The file is not UTF-8 text.") from error
    except csv.Error as error:
        raise Uncuttable("DAMAGED_FILE", f"The file is no CSV near line {reader.line_num}: {error}.") from error


def _lines(given: TextIO) -> Iterator[str]:
    for number in count(1):
        line = given.readline(LINE_CHARACTERS_MAX + 1)
        if not line:
            return
        if len(line) > LINE_CHARACTERS_MAX:
            raise Uncuttable("DAMAGED_FILE", f"Line {number} is longer than {LINE_CHARACTERS_MAX} characters.")
        if "\0" in line:
            raise Uncuttable("DAMAGED_FILE", f"Line {number} holds a NUL character, which text does not.")
        yield line


def _cut_parquet(source: Path, target: Path, seed: bytes, wanted: DataFilter) -> Cut:
    """Statistics are made anew from what is kept, and metadata stays behind: both could tell of what was cut."""
    try:
        with pq.ParquetFile(source, buffer_size=READ_BUFFER_BYTES, pre_buffer=False) as given:
            names = given.schema_arrow.names
            kept = [names[place] for place in _places(names, wanted)]
            schema = pa.schema([_bare(given.schema_arrow.field(name)) for name in kept])
            with pq.ParquetWriter(target, schema) as writer:
                return _copy_batches(given, writer, schema, seed, wanted)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        message = f"The file is no Parquet that can be read: {str(error)[:300]}"
        raise Uncuttable("DAMAGED_FILE", message) from error


def _copy_batches(
    given: pq.ParquetFile, writer: pq.ParquetWriter, schema: pa.Schema, seed: bytes, wanted: DataFilter
) -> Cut:
    rows = read = 0
    held: list[pa.RecordBatch] = []
    batch_rows = min(BATCH_ROWS, wanted.rows_max) if wanted.opens_all else BATCH_ROWS
    for batch in given.iter_batches(batch_size=batch_rows, columns=schema.names):
        if wanted.opens_all and rows == wanted.rows_max:
            break
        if batch.schema.names != schema.names:
            raise Uncuttable("COLUMNS_AMBIGUOUS", "Its nested columns cannot be told apart by name.")
        mask = _mask(read, batch.num_rows, seed, wanted)
        kept = batch if mask is None else batch.filter(mask)
        kept = kept.slice(0, wanted.rows_max - rows)
        read += batch.num_rows
        rows += kept.num_rows
        if kept.num_rows:
            held.append(kept)
        if sum(each.num_rows for each in held) >= GROUP_ROWS or sum(each.nbytes for each in held) >= GROUP_BYTES:
            writer.write_table(pa.Table.from_batches(held).cast(schema))
            held = []
    if held:
        writer.write_table(pa.Table.from_batches(held).cast(schema))
    return Cut(rows_read=read, rows=rows)


def _mask(start: int, length: int, seed: bytes, wanted: DataFilter) -> "pa.BooleanArray | None":
    sample = wanted.sample
    if sample is None:
        return None
    return pa.array([sample.holds(seed, place) for place in range(start, start + length)], type=pa.bool_())


def _bare(field: pa.Field) -> pa.Field:
    return pa.field(field.name, _spelled_out(field.type), field.nullable)


def _spelled_out(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries, at any depth: one is written whole, with the values of rows that are left out."""
    if pa.types.is_dictionary(kind):
        return _spelled_out(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([_bare(kind.field(place)) for place in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(_bare(kind.key_field), _bare(kind.item_field), kind.keys_sorted)
    if pa.types.is_large_list(kind):
        return pa.large_list(_bare(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_bare(kind.value_field), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(_bare(kind.value_field))
    if "dictionary<" in str(kind):
        raise Uncuttable("DICTIONARY_NOT_FILTERABLE", f"It holds a dictionary in a column of the type {kind}.")
    return kind


def _places(names: Sequence[str], wanted: DataFilter) -> list[int]:
    """Which of the file's columns stay, in its order; a name that stands for two would give away the second."""
    if len(set(names)) < len(names):
        raise Uncuttable("COLUMNS_AMBIGUOUS", "The file names a column twice.")
    if wanted.columns is None:
        return list(range(len(names)))
    kept = [place for place, name in enumerate(names) if name in wanted.columns]
    if not kept:
        raise Uncuttable("NO_GRANTED_COLUMN", "The file has none of the columns that were granted.")
    return kept
