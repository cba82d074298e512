"""Image archives as `docker save` writes them: layers, the configuration that names them by digest, and a manifest."""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.cluster.unavailable import ClusterUnavailable

_EPOCH = "1970-01-01T00:00:00Z"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A packed file tree; `digest` is that of the tree before it was packed."""

    path: Path
    digest: str


def pack_layer(root: Path, target: Path) -> Layer:
    """Pack a file tree, owners and all, without its devices."""
    digest = hashlib.sha256()
    with gzip.open(target, "wb", compresslevel=1) as packed:
        with subprocess.Popen(
            ["tar", "--numeric-owner", "--exclude=./dev/*", "-C", str(root), "-c", "."], stdout=subprocess.PIPE
        ) as tar:
            assert tar.stdout is not None
            while block := tar.stdout.read(_BLOCK):
                digest.update(block)
                packed.write(block)
        if tar.returncode != 0:
            raise ClusterUnavailable(f"tar could not pack {root}")
    return Layer(target, digest.hexdigest())


def layers_of(archive: Path, folder: Path) -> list[Layer]:
    """Take the layers out of an archive that `write_archive` wrote, into that folder."""
    with tarfile.open(archive) as opened:

        def content(name: str) -> IO[bytes]:
            member = opened.extractfile(name)
            assert member is not None
            return member

        (manifest,) = json.load(content("manifest.json"))
        digests = json.load(content(manifest["Config"]))["rootfs"]["diff_ids"]
        layers = []
        for name, digest in zip(manifest["Layers"], digests, strict=True):
            with (folder / name).open("wb") as file:
                shutil.copyfileobj(content(name), file)
            layers.append(Layer(folder / name, digest.removeprefix("sha256:")))
    return layers


def write_archive(
    target: Path, name: str, layers: Sequence[Layer], *, command: Sequence[str], user: int, directory: str = "/"
) -> None:
    """An image of that name, from layers that are consumed: the lowest first."""
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _EPOCH,
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": list(command),
                "User": f"{user}:{user}",
                "WorkingDir": directory,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
            "history": [{"created": _EPOCH, "created_by": "guildhall"} for _ in layers],
        }
    ).encode()
    configuration_name = f"{hashlib.sha256(configuration).hexdigest()}.json"
    names = [f"{layer.digest}.tar.gz" for layer in layers]
    manifest = json.dumps([{"Config": configuration_name, "RepoTags": [name], "Layers": names}]).encode()
    with tarfile.open(target, "w") as archive:
        for member, content in (("manifest.json", manifest), (configuration_name, configuration)):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for layer, packed in zip(layers, names, strict=True):
            archive.add(layer.path, packed)
            layer.path.unlink()
