"""Kubernetes, etcd, kwok and the pause command, built from the modules that `go.mod` pins."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.building import FLAGS, go
from tests.cluster.caching import cached, digest_of

HERE = Path(__file__).resolve().parent
KWOK = HERE / "kwok"
SOURCES = (
    HERE / "go.mod",
    HERE / "go.sum",
    HERE / "components" / "main.go",
    HERE / "pause" / "main.go",
    KWOK / "go.mod",
    KWOK / "go.sum",
)
STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
_VERSION_PACKAGE = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Binaries:
    """Where the built programs lie; `kubernetes` takes the name of the component as its first argument."""

    folder: Path

    @property
    def kubernetes(self) -> Path:
        """API server, controller manager, scheduler, kubelet and etcd in one."""
        return self.folder / "kubernetes"

    @property
    def kwok(self) -> Path:
        """Pretended nodes."""
        return self.folder / "kwok"

    @property
    def pause(self) -> Path:
        """The process of a pod's sandbox."""
        return self.folder / "pause"

    @property
    def stages(self) -> Sequence[Path]:
        """What kwok lets nodes and pods go through."""
        return sorted((self.folder / "stages").glob("*.yaml"))


def kubernetes_version() -> str:
    """The version that `go.mod` pins, for example v1.37.1."""
    found = re.search(r"^\tk8s\.io/kubernetes (v\S+)$", (HERE / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


def built_binaries(say: Callable[[str], None] | None = None) -> Binaries:
    """The binaries out of the cache, built first where they are not there (some minutes on two cores)."""
    recipe = digest_of([*(path.read_bytes() for path in SOURCES), " ".join((*FLAGS, *STAGES))])
    return Binaries(cached("binaries", f"{kubernetes_version()}-{recipe}", _Build(say or _tell).into, say or _tell))


class _Build:
    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def into(self, folder: Path) -> None:
        version = kubernetes_version()
        major, minor, _ = version.removeprefix("v").split(".", maxsplit=2)
        named = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
        flags = " ".join(f"-X {_VERSION_PACKAGE}.{key}={value}" for key, value in named.items())
        self._say(f"building Kubernetes {version} and etcd, once for this recipe (some minutes)")
        self._build(HERE, ["-ldflags", f"-s -w {flags}", "-o", str(folder / "kubernetes"), "./components"])
        self._build(HERE, ["-ldflags", "-s -w", "-o", str(folder / "pause"), "./pause"])
        self._build(KWOK, ["-ldflags", "-s -w", "-o", str(folder / "kwok"), "sigs.k8s.io/kwok/cmd/kwok"])
        self._copy_stages(folder / "stages")

    def _build(self, module: Path, arguments: Sequence[str]) -> None:
        self._go(module, ["build", *FLAGS, *arguments])

    def _copy_stages(self, folder: Path) -> None:
        module = Path(self._go(KWOK, ["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"]).strip())
        folder.mkdir()
        for stage in STAGES:
            for path in (module / "kustomize" / "stage" / stage).glob("*.yaml"):
                if path.name != "kustomization.yaml":
                    (folder / path.name).write_bytes(path.read_bytes())

    def _go(self, module: Path, arguments: Sequence[str]) -> str:
        return go(module, arguments, self._say)


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - a build of minutes tells a terminal that it goes on
