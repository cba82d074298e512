"""What takes minutes to make is made once for each recipe, outside the tree, and appears whole or not at all."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.unavailable import ClusterUnavailable

_NAMED = os.environ.get("GUILDHALL_CACHE")  # read at once: the tests clear the variables of our name


def cache_folder() -> Path:
    """Where binaries and images are kept from run to run: $GUILDHALL_CACHE, else ~/.cache/guildhall."""
    return Path(_NAMED) if _NAMED else Path.home() / ".cache" / "guildhall"


def digest_of(parts: Iterable[bytes | str]) -> str:
    """Sixteen hex digits that change when any part does."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]


def cached(kind: str, recipe: str, make: Callable[[Path], None], say: Callable[[str], None]) -> Path:
    """The folder that `make` filled for this recipe, filled now where it is not there.

    Two runs at once agree: the second waits for the first. `make` works in a folder beside the final one, which is
    renamed when whole, so that a run that was killed leaves nothing that another takes for finished.
    """
    folder = cache_folder() / "cluster" / kind
    target = folder / recipe
    if target.is_dir():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterUnavailable(f"the cache folder {folder} cannot be made: {error.strerror}") from error
    with locked(folder / f"{recipe}.lock", lambda: say(f"another run makes {kind} {recipe}; waiting for it")):
        if target.is_dir():
            return target
        for left in folder.glob(f"{recipe}.partly-*"):
            shutil.rmtree(left)
        partly = Path(tempfile.mkdtemp(prefix=f"{recipe}.partly-", dir=folder))
        try:
            make(partly)
            partly.chmod(0o755)
            partly.rename(target)
        finally:
            shutil.rmtree(partly, ignore_errors=True)
    return target


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of that file, which is there only while somebody holds it or waits."""
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(held, fcntl.LOCK_EX)
        if path.exists() and path.stat().st_ino == os.fstat(held).st_ino:
            break
        os.close(held)  # whoever held it has removed the file: what we hold is nobody else's lock
    try:
        yield
    finally:
        path.unlink()
        os.close(held)
