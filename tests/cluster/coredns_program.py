"""CoreDNS with the few plugins that a test cluster needs, built from what `coredns/go.mod` pins."""

import re
from collections.abc import Callable
from pathlib import Path

from tests.cluster.building import FLAGS, go
from tests.cluster.caching import cached, digest_of

HERE = Path(__file__).resolve().parent / "coredns"
SOURCES = ("go.mod", "go.sum", "main.go")


def coredns_version() -> str:
    """The version that `coredns/go.mod` pins, for example v1.15.0."""
    found = re.search(r"github\.com/coredns/coredns (v\S+)", (HERE / "go.mod").read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def built_coredns(say: Callable[[str], None] = lambda _: None) -> Path:
    """The program out of the cache, built first where it is not there (a minute or two on two cores)."""
    version = coredns_version()

    def build(folder: Path) -> None:
        say(f"building CoreDNS {version}, once for this recipe")
        go(HERE, ["build", *FLAGS, "-ldflags", "-s -w", "-o", str(folder / "coredns"), "."], say)

    recipe = digest_of([*((HERE / name).read_bytes() for name in SOURCES), *FLAGS])
    return cached("binaries", f"coredns-{version}-{recipe}", build, say) / "coredns"
