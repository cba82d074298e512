"""What of a file leaves: only these columns, only this sample of the rows."""

import json
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256

MILLIONTHS = 1_000_000
ENGINE = 2
"""Counts up when equal filters would cut differently than before, so that nothing cut by the older way is served."""


@dataclass(frozen=True, kw_only=True)
class RowSample:
    """Exactly one of two: the first rows of each file, or a fraction of them (in millionths).

    Which rows belong to a fraction follows from the file's digest and their places in it alone. So reading again, or
    under another grant, gives no other rows, and the smaller of two fractions is part of the larger.
    """

    first_rows: int | None = None
    millionths: int | None = None

    def __post_init__(self) -> None:
        assert (self.first_rows is None) != (self.millionths is None), "a sample is of one kind"

    def holds(self, seed: bytes, place: int) -> bool:
        """Whether the row at this place (from 0) belongs to the sample of the file with this digest."""
        if self.first_rows is not None:
            return place < self.first_rows
        assert self.millionths is not None
        drawn = int.from_bytes(blake2b(seed + place.to_bytes(8, "big"), digest_size=8).digest(), "big")
        return drawn * MILLIONTHS < self.millionths << 64

    def within(self, other: "RowSample") -> bool:
        """Whether this sample of any file gives no row that the other does not give."""
        if self.first_rows is not None:
            return other.first_rows is not None and self.first_rows <= other.first_rows
        return self.millionths is not None and other.millionths is not None and self.millionths <= other.millionths


@dataclass(frozen=True, kw_only=True)
class DataFilter:
    """Columns by name (None: all of them) and a sample of rows (None: all of them); at least one of the two limits.

    With `shown_rows` it is a preview: of what the two leave the first so many rows, as JSON.
    """

    columns: frozenset[str] | None = None
    sample: RowSample | None = None
    shown_rows: int | None = None

    @property
    def opens_all(self) -> bool:
        """Whether it leaves all columns and all rows."""
        return self.columns is None and self.sample is None

    @property
    def rows_max(self) -> int:
        """How many rows are cut out at most; of a preview one more than is shown, which tells that there are more."""
        return sys.maxsize if self.shown_rows is None else self.shown_rows + 1

    def within(self, other: "DataFilter") -> bool:
        """Whether this leaves of any file nothing that the other does not leave."""
        columns = other.columns is None or (self.columns is not None and self.columns <= other.columns)
        rows = other.sample is None or (self.sample is not None and self.sample.within(other.sample))
        return columns and rows

    def as_json(self) -> dict[str, object]:
        """As the audit record and the program that cuts are told."""
        shown = {} if self.shown_rows is None else {"shownRows": self.shown_rows}
        return {
            "columns": None if self.columns is None else sorted(self.columns),
            "firstRows": None if self.sample is None else self.sample.first_rows,
            "millionths": None if self.sample is None else self.sample.millionths,
            **shown,
        }

    @classmethod
    def from_json(cls, given: dict[str, object]) -> "DataFilter":
        """What `as_json` gave."""
        columns, first_rows, millionths = given["columns"], given["firstRows"], given["millionths"]
        shown_rows = given.get("shownRows")
        assert columns is None or isinstance(columns, list)
        assert first_rows is None or isinstance(first_rows, int)
        assert millionths is None or isinstance(millionths, int)
        assert shown_rows is None or isinstance(shown_rows, int)
        return replace(data_filter(columns, first_rows, millionths) or cls(), shown_rows=shown_rows)

    @property
    def digest(self) -> str:
        """Names the filter: equal ones cut the same out of the same file."""
        return sha256(json.dumps([ENGINE, self.as_json()], sort_keys=True).encode()).hexdigest()


def data_filter(columns: Collection[str] | None, first_rows: int | None, millionths: int | None) -> DataFilter | None:
    """The filter of a grant, None where it gives everything."""
    if columns is None and first_rows is None and millionths is None:
        return None
    sample = (
        None if first_rows is None and millionths is None else RowSample(first_rows=first_rows, millionths=millionths)
    )
    return DataFilter(columns=None if columns is None else frozenset(columns), sample=sample)
