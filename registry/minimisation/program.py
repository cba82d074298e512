"""The process that cuts: what is wrong with a file, or made to be wrong, ends here and not in the server.

It reads one order in JSON from its input and answers in JSON; it needs no database, store, network or secret.
"""

import json
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry.minimisation.cutting import Cut, Uncuttable, cut_file
from registry.minimisation.filters import DataFilter
from registry.minimisation.showing import show_file

CPU_SECONDS_MAX = 1_800
DATA_BYTES_MAX = 2 * 1024**3
"""Far above what batches need; a page that unpacks to more is damage."""
OUTPUT_TIMES_MAX = 4
OUTPUT_BYTES_SPARE = 64 * 1024**2


def main() -> None:
    """Carry out one order."""
    order = json.load(sys.stdin)
    limit(Path(order["source"]).stat().st_size)
    try:
        cut = _carry_out(order)
        answer: dict[str, int | str] = {"rows": cut.rows, "rowsRead": cut.rows_read}
    except Uncuttable as error:
        answer = {"code": error.code, "message": error.message}
    json.dump(answer, sys.stdout)


def _carry_out(order: dict[str, Any]) -> Cut:
    source, target, path = Path(order["source"]), Path(order["target"]), order["path"]
    seed, wanted = bytes.fromhex(order["seed"]), DataFilter.from_json(order["filter"])
    if wanted.shown_rows is None:
        return cut_file(source, target, path=path, seed=seed, wanted=wanted)
    part = target.with_name("part-to-show")
    cut = cut_file(source, part, path=path, seed=seed, wanted=wanted)
    if source.stat().st_size < order["sizeBytes"] and cut.rows < wanted.rows_max:
        raise Uncuttable("CUT_SHORT", "The beginning of the file holds too few rows.")
    return replace(cut, rows=show_file(part, target, path=path, rows_max=wanted.shown_rows))


def limit(source_bytes: int) -> None:
    """Cap time, memory and what may be written."""
    for kind, most in (
        (resource.RLIMIT_CPU, CPU_SECONDS_MAX),
        (resource.RLIMIT_DATA, DATA_BYTES_MAX),
        (resource.RLIMIT_FSIZE, source_bytes * OUTPUT_TIMES_MAX + OUTPUT_BYTES_SPARE),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main()
