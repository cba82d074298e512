"""The images that pods of the test cluster run: archives written by us, imported into containerd, no registry.

`pause` holds a pod's namespaces; `python` is a Debian with Python and a user that is not root; `training` has what the
demo's training script imports as well, and is brought only to clusters that ask for it. An archive is what
`docker save` writes: the layer, the configuration that names it by digest, and a manifest that names both.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.binaries import Binaries
from tests.cluster.caching import cached, digest_of
from tests.cluster.unavailable import ClusterUnavailable

PAUSE = "localhost/guildhall/pause:1"
PYTHON = "localhost/guildhall/python:3.11"
TRAINING = "localhost/guildhall/training:3.11"
USER = 1000
_SUITE = "bookworm"
_PACKAGES = ("python3", "ca-certificates")
_TRAINING_PACKAGES = (*_PACKAGES, "python3-sklearn", "python3-joblib")
# What no pod of a test reads; it would be unpacked at every start of a cluster.
_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/info",
    "usr/share/zoneinfo",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
)
_EPOCH = "1970-01-01T00:00:00Z"
_RECIPE = "4"  # raise it when what this module writes changes


@dataclass(frozen=True)
class Images:
    """The names under which pods ask for them."""

    pause: str = PAUSE
    python: str = PYTHON
    training: str = TRAINING


def archives(binaries: Binaries, say: Callable[[str], None]) -> Sequence[Path]:
    """The archives of all images, made first where the cache has none (half a minute for the Debian)."""
    pause = cached(
        "images",
        f"pause-{digest_of([_RECIPE, binaries.folder.name])}",
        lambda folder: _make_pause(binaries.pause, folder),
        say,
    )
    return [pause / "image.tar", _debian(PYTHON, _PACKAGES, say)]


def training_archive(say: Callable[[str], None]) -> Path:
    """The archive of the image `training`, made first where the cache has none."""
    return _debian(TRAINING, _TRAINING_PACKAGES, say)


def _debian(image: str, packages: Sequence[str], say: Callable[[str], None]) -> Path:
    name = image.rpartition("/")[2].partition(":")[0]
    recipe = digest_of([_RECIPE, _SUITE, *packages, str(USER), *_LEFT_OUT])
    make = lambda folder: _make_debian(folder, image, packages, say)  # noqa: E731
    return cached("images", f"{name}-{recipe}", make, say) / "image.tar"


def _make_pause(binary: Path, folder: Path) -> None:
    root = folder / "root"
    root.mkdir()
    shutil.copy2(binary, root / "pause")
    _write_archive(root, folder / "image.tar", PAUSE, ["/pause"], user=65535)
    shutil.rmtree(root)


def _make_debian(folder: Path, image: str, packages: Sequence[str], say: Callable[[str], None]) -> None:
    if shutil.which("debootstrap") is None:
        raise ClusterUnavailable(f"`debootstrap` is not installed; it makes the file system of the image {image}")
    say(f"making the image {image} with debootstrap, once for this recipe (half a minute)")
    root = folder / "root"
    made = subprocess.run(
        ["nice", "debootstrap", "--variant=minbase", f"--include={','.join(packages)}", _SUITE, str(root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        last = (made.stdout.strip().splitlines() or ["no word"])[-1]
        raise ClusterUnavailable(f"debootstrap failed: {last}")
    for name in _LEFT_OUT:
        shutil.rmtree(root / name, ignore_errors=True)
    for passwords, line in (
        ("passwd", f"guildhall:x:{USER}:{USER}::/home/guildhall:/bin/sh\n"),
        ("group", f"guildhall:x:{USER}:\n"),
    ):
        with (root / "etc" / passwords).open("a", encoding="utf-8") as file:
            file.write(line)
    (root / "usr" / "bin" / "python").symlink_to("python3")
    home = root / "home" / "guildhall"
    home.mkdir(parents=True)
    os.chown(home, USER, USER)
    _write_archive(root, folder / "image.tar", image, ["python3"], user=USER, directory="/home/guildhall")
    shutil.rmtree(root)


def _write_archive(
    root: Path, target: Path, name: str, command: Sequence[str], *, user: int, directory: str = "/"
) -> None:
    layer = target.with_name("layer.tar.gz")
    plain = hashlib.sha256()
    with gzip.open(layer, "wb", compresslevel=1) as packed:
        with subprocess.Popen(
            ["tar", "--numeric-owner", "--exclude=./dev/*", "-C", str(root), "-c", "."], stdout=subprocess.PIPE
        ) as tar:
            assert tar.stdout is not None
            while block := tar.stdout.read(1 << 20):
                plain.update(block)
                packed.write(block)
        if tar.returncode != 0:
            raise ClusterUnavailable(f"tar could not pack {root}")
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
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{plain.hexdigest()}"]},
            "history": [{"created": _EPOCH, "created_by": "guildhall"}],
        }
    ).encode()
    configuration_name = f"{hashlib.sha256(configuration).hexdigest()}.json"
    manifest = [{"Config": configuration_name, "RepoTags": [name], "Layers": [layer.name]}]
    with tarfile.open(target, "w") as archive:
        for member, content in (
            ("manifest.json", json.dumps(manifest).encode()),
            (configuration_name, configuration),
        ):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        archive.add(layer, layer.name)
    layer.unlink()
