"""The process that cuts: what is wrong with a file, or made to be wrong, ends here and not in the server.

It reads one order in JSON from its input and answers in JSON; it needs no database, store, network or secret.
"""

import json
import resource
import sys
from pathlib import Path

from registry.minimisation.cutting import Uncuttable, cut_file
from registry.minimisation.filters import DataFilter

CPU_SECONDS_MAX = 1_800
DATA_BYTES_MAX = 2 * 1024**3
"""Far above what batches need; a page that unpacks to more is damage."""
OUTPUT_TIMES_MAX = 4
OUTPUT_BYTES_SPARE = 64 * 1024**2


def main() -> None:
    """Carry out one order."""
    order = json.load(sys.stdin)
    source, target = Path(order["source"]), Path(order["target"])
    limit(source.stat().st_size)
    try:
        cut = cut_file(
            source,
            target,
            path=order["path"],
            seed=bytes.fromhex(order["seed"]),
            wanted=DataFilter.from_json(order["filter"]),
        )
        answer: dict[str, int | str] = {"rows": cut.rows, "rowsRead": cut.rows_read}
    except Uncuttable as error:
        answer = {"code": error.code, "message": error.message}
    json.dump(answer, sys.stdout)


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
