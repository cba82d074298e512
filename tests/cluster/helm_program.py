"""Helm, built from the module that `helm/go.mod` pins and kept beside the other binaries."""

import re
from collections.abc import Callable
from pathlib import Path

from tests.cluster.building import FLAGS, go
from tests.cluster.caching import cached, digest_of

HERE = Path(__file__).resolve().parent / "helm"


def helm_version() -> str:
    """The version that `helm/go.mod` pins, for example v4.3.1."""
    found = re.search(r"helm\.sh/helm/v4 (v\S+)", (HERE / "go.mod").read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def built_helm(say: Callable[[str], None]) -> Path:
    """The program out of the cache, built first where it is not there (a minute or two on two cores)."""
    version = helm_version()
    linked = f"-s -w -X helm.sh/helm/v4/internal/version.version={version}"

    def build(folder: Path) -> None:
        say(f"building Helm {version}, once for this recipe")
        go(HERE, ["build", *FLAGS, "-ldflags", linked, "-o", str(folder / "helm"), "helm.sh/helm/v4/cmd/helm"], say)

    sources = [(HERE / name).read_bytes() for name in ("go.mod", "go.sum")]
    return cached("binaries", f"helm-{version}-{digest_of([*sources, *FLAGS, linked])}", build, say) / "helm"
