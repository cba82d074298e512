"""versitygw, an S3 server, built from the module that `versitygw/go.mod` pins and kept beside the other binaries."""

import re
from collections.abc import Callable
from pathlib import Path

from tests.cluster.building import FLAGS, go
from tests.cluster.caching import cached, digest_of

HERE = Path(__file__).resolve().parent / "versitygw"
_PACKAGE = "github.com/versity/versitygw/cmd/versitygw"
_LINKED = "-s -w"


def built_versitygw(say: Callable[[str], None]) -> Path:
    """The program out of the cache, built first where it is not there (a minute or two on two cores)."""
    sources = [(HERE / name).read_bytes() for name in ("go.mod", "go.sum")]
    found = re.search(r"github\.com/versity/versitygw (v\S+)", sources[0].decode())
    assert found is not None

    def build(folder: Path) -> None:
        say(f"building versitygw {found[1]}, once for this recipe")
        go(HERE, ["build", *FLAGS, "-ldflags", _LINKED, "-o", str(folder / "versitygw"), _PACKAGE], say)

    recipe = f"versitygw-{found[1]}-{digest_of([*sources, *FLAGS, _LINKED])}"
    return cached("binaries", recipe, build, say) / "versitygw"
