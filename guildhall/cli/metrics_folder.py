"""The folder in which the processes of the API keep their counts together, and what is left of those of before.

A parent that is killed cannot take its folder away. Each folder therefore holds a file that is locked as long as its
parent lives; whoever starts next takes away those whose lock is free.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "guildhall-metrics-"
_LOCK = "lock"


@contextmanager
def metrics_folder() -> Iterator[Path]:
    """An empty folder among the temporary files, until the block ends."""
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name)
        unnamed = folder / f"{_LOCK}.new"
        with unnamed.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            unnamed.rename(folder / _LOCK)  # it is never seen before it is locked
            yield folder


def _sweep(parent: Path) -> None:
    """Remove the folders whose parents are gone; those of other users are left to them."""
    for path in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # another's, or taken away meanwhile
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(path.parent, ignore_errors=True)
        finally:
            os.close(lock)
