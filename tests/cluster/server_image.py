"""The image of Guildhall itself for the test cluster: what `helm/image/Containerfile` says, without an engine.

The base is the image `python`; dependencies are kept, since they seldom change, and the source goes over them anew.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.cluster.caching import cached, digest_of
from tests.cluster.images import RECIPE, REPOSITORY, install, python_archive, uv
from tests.cluster.packing import layers_of, pack_layer, write_archive

REPOSITORY_NAME = "localhost/guildhall/server"
DEPENDENCIES = "localhost/guildhall/server-dependencies:1"
SOURCES = ("guildhall", "registry", "marketplace", "scheduler")
FOLDER = "opt/guildhall"
USER = 10001
_USERS = {
    "passwd": f"root:x:0:0:root:/root:/bin/sh\nguildhall:x:{USER}:{USER}::/var/lib/guildhall:/bin/sh\n",
    "group": f"root:x:0:\nguildhall:x:{USER}:\n",
}


def server_archive(target: Path, tag: str, say: Callable[[str], None]) -> str:
    """Write the archive of this working tree's image, and return the image's name."""
    image = f"{REPOSITORY_NAME}:{tag}"
    work = target.with_name(f"{target.name}.layers")
    work.mkdir()
    root = work / "root"
    (root / "etc").mkdir(parents=True)
    for name, lines in _USERS.items():
        (root / "etc" / name).write_text(lines, encoding="utf-8")
    for path in _tracked():
        copy = root / FOLDER / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / path, copy)
    layers = [*layers_of(dependencies_archive(say), work), pack_layer(root, work / "layer")]
    write_archive(target, image, layers, command=["python3", "-m", "guildhall"], user=USER, directory=f"/{FOLDER}")
    shutil.rmtree(work)
    return image


def dependencies_archive(say: Callable[[str], None]) -> Path:
    """The archive of the base with the service's dependencies, made first where the cache has none."""
    base = python_archive(say)
    requirements = uv("export", "--frozen", "--no-default-groups", "--no-header", "--quiet")
    recipe = digest_of([RECIPE, base.parent.name, requirements])

    def make(folder: Path) -> None:
        say("making the dependencies of the image `server`, once for this recipe")
        root = install(requirements, folder)
        layers = [*layers_of(base, folder), pack_layer(root, folder / "layer")]
        write_archive(folder / "image.tar", DEPENDENCIES, layers, command=["python3"], user=USER)
        shutil.rmtree(root)

    return cached("images", f"server-{recipe}", make, say) / "image.tar"


def _tracked() -> list[str]:
    """What a build would be given: no caches, and what is not committed yet as well."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *SOURCES]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [path for path in found.stdout.splitlines() if (REPOSITORY / path).is_file()]
