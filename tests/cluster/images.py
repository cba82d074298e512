"""The images that pods of the test cluster run: archives written by us, imported into containerd, no registry.

`pause` holds a pod's namespaces; `python` is a Debian with Python and a user that is not root; `training` has what the
demo's training script imports as well, in a second layer, and is brought only to clusters that ask for it.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.binaries import Binaries
from tests.cluster.caching import cached, digest_of
from tests.cluster.packing import Layer, layers_of, pack_layer, write_archive
from tests.cluster.unavailable import ClusterUnavailable

PAUSE = "localhost/guildhall/pause:1"
PYTHON = "localhost/guildhall/python:3.11"
TRAINING = "localhost/guildhall/training:3.11"
USER = 1000
REPOSITORY = Path(__file__).resolve().parents[2]
_SUITE = "bookworm"
_PACKAGES = "python3,ca-certificates"
PYTHON_VERSION = "3.11"  # of that suite
SITE_PACKAGES = f"usr/local/lib/python{PYTHON_VERSION}/dist-packages"
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
RECIPE = "5"  # raise it when what this module writes changes


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
        f"pause-{digest_of([RECIPE, binaries.folder.name])}",
        lambda folder: _make_pause(binaries.pause, folder),
        say,
    )
    return [pause / "image.tar", python_archive(say)]


def training_archive(say: Callable[[str], None]) -> Path:
    """The archive of the image `training`, made first where the cache has none."""
    base = python_archive(say)
    requirements = uv("export", "--frozen", "--only-group=demo", "--prune=guildhall-client", "--no-header", "--quiet")
    recipe = digest_of([RECIPE, base.parent.name, requirements])
    make = lambda folder: _make_training(folder, base, requirements, say)  # noqa: E731
    return cached("images", f"training-{recipe}", make, say) / "image.tar"


def python_archive(say: Callable[[str], None]) -> Path:
    """The archive of the image `python`, made first where the cache has none (half a minute)."""
    recipe = digest_of([RECIPE, _SUITE, _PACKAGES, str(USER), *_LEFT_OUT])
    return cached("images", f"python-{recipe}", lambda folder: _make_python(folder, say), say) / "image.tar"


def _make_pause(binary: Path, folder: Path) -> None:
    root = folder / "root"
    root.mkdir()
    shutil.copy2(binary, root / "pause")
    layer = pack_layer(root, folder / "layer")
    write_archive(folder / "image.tar", PAUSE, [layer], command=["/pause"], user=65535)
    shutil.rmtree(root)


def _make_python(folder: Path, say: Callable[[str], None]) -> None:
    if shutil.which("debootstrap") is None:
        raise ClusterUnavailable("`debootstrap` is not installed; it makes the file system of the image `python`")
    say("making the image `python` with debootstrap, once for this recipe (half a minute)")
    root = folder / "root"
    made = subprocess.run(
        ["nice", "debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root)],
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
    _write_python(folder, PYTHON, [pack_layer(root, folder / "layer")])
    shutil.rmtree(root)


def _make_training(folder: Path, base: Path, requirements: str, say: Callable[[str], None]) -> None:
    """The demo's own requirements at the versions that uv.lock pins, over the image `python`."""
    say("making the image `training` from the demo's requirements, once for this recipe")
    root = install(requirements, folder)
    for tests in sorted(root.glob("**/tests")):
        shutil.rmtree(tests)
    _write_python(folder, TRAINING, [*layers_of(base, folder), pack_layer(root, folder / "layer")])
    shutil.rmtree(root)


def _write_python(folder: Path, image: str, layers: Sequence[Layer]) -> None:
    write_archive(folder / "image.tar", image, layers, command=["python3"], user=USER, directory="/home/guildhall")


def install(requirements: str, folder: Path) -> Path:
    """The pinned requirements as a layer over the image `python`: a root in the folder that has them."""
    listed = folder / "requirements.txt"
    listed.write_text(requirements, encoding="utf-8")
    root = folder / "root"
    wanted = ("--python-version", PYTHON_VERSION, "--python-platform", f"{platform.machine()}-manylinux_2_28")
    uv("pip", "install", "--quiet", "--target", str(root / SITE_PACKAGES), *wanted, "--only-binary=:all:",
       "--require-hashes", "--requirements", str(listed))  # fmt: skip
    return root


def uv(*arguments: str) -> str:
    """Run the uv that the Makefile fetches."""
    found = subprocess.run(
        [sys.executable, "tools/get_uv.py"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    program = found.stdout.strip()
    said = (
        found
        if found.returncode
        else subprocess.run([program, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    )
    if said.returncode != 0:
        last = (said.stderr.strip().splitlines() or ["no word"])[-1]
        raise ClusterUnavailable(f"uv {arguments[0]} failed: {last}")
    return said.stdout
