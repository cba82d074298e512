"""The data set of the story: the handwritten digits that ship inside scikit-learn, as files."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.datasets import load_digits

HELD_OUT_EVERY = 4
COLUMNS: list[dict[str, Any]] = [
    *({"name": f"pixel_{n}", "type": "float", "unit": "grey level 0..16", "personal": False} for n in range(64)),
    {"name": "digit", "type": "integer", "unit": None, "personal": False},
]


@dataclass(frozen=True)
class Digits:
    """How many rows each file has."""

    rows: int
    rows_by_path: dict[str, int]


def write_digits(folder: Path) -> Digits:
    """Write `train.csv` and `heldout.csv`: 1,797 images of 8 × 8 pixels, every fourth one held out."""
    bunch: Any = load_digits()
    rows = [
        [*(int(pixel) for pixel in image), int(digit)] for image, digit in zip(bunch.data, bunch.target, strict=True)
    ]
    parts = {
        "train.csv": [row for number, row in enumerate(rows) if number % HELD_OUT_EVERY],
        "heldout.csv": rows[::HELD_OUT_EVERY],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for path, part in parts.items():
        with (folder / path).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(column["name"] for column in COLUMNS)
            writer.writerows(part)
    return Digits(len(rows), {path: len(part) for path, part in parts.items()})
