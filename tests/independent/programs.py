"""The programs of this folder, built from the modules that `go.mod` pins, once for each recipe."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.building import FLAGS, go
from tests.cluster.caching import cached, digest_of

HERE = Path(__file__).resolve().parent
PROGRAMS = {"verify": "./verify", "witness": "./witness", "fsck": "github.com/transparency-dev/tessera/cmd/fsck"}
_SOURCES = (HERE / "go.mod", HERE / "go.sum", HERE / "verify" / "main.go", HERE / "witness" / "main.go")


@dataclass(frozen=True)
class Programs:
    """Where they lie."""

    folder: Path

    @property
    def verify(self) -> Path:
        """Checks an export with golang.org/x/mod."""
        return self.folder / "verify"

    @property
    def witness(self) -> Path:
        """A witness to sign heads."""
        return self.folder / "witness"

    @property
    def fsck(self) -> Path:
        """Tessera's own check of any tlog-tiles log."""
        return self.folder / "fsck"


def built_programs() -> Programs:
    """The programs out of the cache; raises ClusterUnavailable without Go."""
    recipe = digest_of([*(path.read_bytes() for path in _SOURCES), " ".join(FLAGS)])
    return Programs(cached("independent", recipe, _build, _say))


def _build(folder: Path) -> None:
    for name, package in PROGRAMS.items():
        go(HERE, ["build", *FLAGS, "-ldflags", "-s -w", "-o", str(folder / name), package], _say)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - a first build takes a minute
