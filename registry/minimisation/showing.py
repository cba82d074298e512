"""The first rows of a table as JSON, for people who look at it before they take it. Runs in the process that cuts."""

import csv
import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from registry.minimisation.cutting import LINE_CHARACTERS_MAX, Uncuttable, is_csv

SHOWN_BYTES_MAX = 1024 * 1024
"""Of columns and rows together; rows behind it are not shown."""
CELL_CHARACTERS_MAX = 500
"""What is longer is shortened."""

Cells = Sequence[str | None]
Rows = Generator[Cells, None, None]


def show_file(part: Path, target: Path, *, path: str, rows_max: int) -> int:
    """Write the rows of `part`, which was cut out of a file called `path`, as JSON; how many. Raises Uncuttable."""
    columns, rows = _of_csv(part) if is_csv(path) else _of_parquet(part)
    with closing(rows):
        answer = _told(columns, rows, rows_max)
    target.write_text(json.dumps(answer, ensure_ascii=False), encoding="utf-8")
    return len(answer["rows"])


def _told(columns: Sequence[tuple[str, str]], rows: Iterable[Cells], rows_max: int) -> dict[str, Any]:
    told = [{"name": name, "type": kind} for name, kind in columns]
    left = SHOWN_BYTES_MAX - _bytes(told)
    if left < 0:
        raise Uncuttable("TOO_WIDE", f"Its columns alone are more than the {SHOWN_BYTES_MAX} bytes of a preview.")
    shown: list[Cells] = []
    shortened, more = 0, False
    for row in rows:
        cells = [None if cell is None else _short(cell) for cell in row]
        left -= _bytes(cells)
        if len(shown) == rows_max or left < 0:
            more = True
            break
        shown.append(cells)
        shortened += sum(short != cell for short, cell in zip(cells, row, strict=True))
    return {"columns": told, "rows": shown, "hasMoreRows": more, "shortenedCells": shortened}


def _of_csv(part: Path) -> tuple[list[tuple[str, str]], Rows]:
    """Everything in a CSV is text, whatever it reads like."""
    records = _records(part)
    return [(name, "text") for name in next(records)], records


def _records(part: Path) -> Generator[list[str], None, None]:
    csv.field_size_limit(LINE_CHARACTERS_MAX)
    with part.open(encoding="utf-8", newline="") as given:
        yield from csv.reader(given, strict=True)


def _of_parquet(part: Path) -> tuple[list[tuple[str, str]], Rows]:
    schema = pq.read_schema(part)
    return [(field.name, _short(str(field.type))) for field in schema], _values(part)


def _values(part: Path) -> Generator[list[str | None], None, None]:
    with pq.ParquetFile(part) as given:
        for batch in given.iter_batches(batch_size=1):
            yield [_text(column[0]) for column in batch.columns]


def _text(value: pa.Scalar) -> str | None:
    """Moments as Arrow writes them, bytes in hexadecimal, what is nested as JSON; everything else as Python does."""
    if not value.is_valid:
        return None
    if pa.types.is_temporal(value.type):
        return str(value.cast(pa.string()).as_py())
    try:
        given = value.as_py()
    except ValueError:  # such as nanoseconds within what is nested, which Python's moments do not have
        return f"({value.type})"
    if isinstance(given, bytes):
        return given[:CELL_CHARACTERS_MAX].hex()
    if isinstance(given, bool | list | dict):
        return json.dumps(given, ensure_ascii=False, default=str)
    return str(given)


def _short(text: str) -> str:
    return text if len(text) <= CELL_CHARACTERS_MAX else text[: CELL_CHARACTERS_MAX - 1] + "…"


def _bytes(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())
