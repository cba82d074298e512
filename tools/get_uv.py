"""Find uv, or fetch the pinned one into `.uv/`, and print its path.

Runs on a bare Python before anything is installed, so it uses the standard library only. A uv on PATH is taken if
it is at least as new as the pinned one; otherwise pip brings it (through the user's own pip settings, so mirrors and
proxies are honoured), and where this Python has neither `ensurepip` nor pip, as on a minimal Debian, the wheel is
downloaded and unpacked here. Either way the file must have one of the hashes in `uv-requirements.txt`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "tools" / "uv-requirements.txt"
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple")
TIMEOUT_SECONDS = 120


def main() -> None:
    """Print the path of a suitable uv, or one sentence on what stands in the way."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this is where an older Python learns that it is too old
        version = platform.python_version()
        sys.exit(f"Guildhall needs Python 3.11 or newer; this is {version}. Name another one: make PYTHON=python3.12")
    wanted = pinned_version(REQUIREMENTS.read_text())
    found = shutil.which("uv")
    if found and version_of(Path(found)) >= wanted:
        print(found)
        return
    uv = ROOT / ".uv" / "bin" / "uv"
    if not (uv.exists() and version_of(uv) == wanted):
        shutil.rmtree(ROOT / ".uv", ignore_errors=True)
        print("fetching uv into .uv/", file=sys.stderr)
        if not install_with_pip():
            install_from_index(uv)
    print(uv)


def pinned_version(requirements: str) -> tuple[int, ...]:
    """Read the version that `uv-requirements.txt` pins."""
    match = re.search(r"^uv==([0-9.]+)", requirements, re.MULTILINE)
    assert match, "uv-requirements.txt pins no version of uv"
    return as_numbers(match[1])


def as_numbers(version: str) -> tuple[int, ...]:
    """Turn `0.13.8` into something that compares as a version does."""
    return tuple(int(part) for part in version.split("."))


def version_of(uv: Path) -> tuple[int, ...]:
    """Ask a uv for its version; one that does not answer counts as older than any."""
    try:
        answer = subprocess.run([uv, "--version"], capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ()
    match = re.search(r"\b([0-9]+(?:\.[0-9]+)+)", answer.stdout)
    return as_numbers(match[1]) if match else ()


def install_with_pip() -> bool:
    """Make the environment `.uv/` and let its pip bring uv; False where this Python cannot."""
    make = [sys.executable, "-m", "venv", str(ROOT / ".uv")]
    python = ROOT / ".uv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(REQUIREMENTS)]
    for command in (make, install):
        if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False).returncode != 0:
            return False
    return True


def install_from_index(uv: Path) -> None:
    """Download the wheel for this platform from the index, check its hash, and unpack the one program in it."""
    try:
        with urllib.request.urlopen(f"{INDEX}/uv/", timeout=TIMEOUT_SECONDS) as answer:
            page = answer.read().decode()
        url, digest = choose_wheel(page, REQUIREMENTS.read_text(), answer.url)
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            wheel = answer.read()
    except (OSError, LookupError) as error:
        sys.exit(
            f"uv could not be fetched ({error}). Install it by hand (https://docs.astral.sh/uv), or give this Python "
            "its venv module (Debian and Ubuntu: apt install python3-venv), and run make again."
        )
    if hashlib.sha256(wheel).hexdigest() != digest:
        sys.exit(f"{url} does not have the hash that tools/uv-requirements.txt pins; nothing was installed.")
    shutil.rmtree(ROOT / ".uv", ignore_errors=True)
    uv.parent.mkdir(parents=True)
    archive = ROOT / ".uv" / "uv.whl"
    archive.write_bytes(wheel)
    with zipfile.ZipFile(archive) as unpacked:
        name = next(name for name in unpacked.namelist() if name.endswith("/scripts/uv"))
        uv.write_bytes(unpacked.read(name))
    archive.unlink()
    uv.chmod(0o755)


def choose_wheel(page: str, requirements: str, base: str) -> tuple[str, str]:
    """Return address and sha256 of the wheel on an index page that is pinned and fits this machine.

    Raises LookupError where none does.
    """
    pinned = set(re.findall(r"sha256:([0-9a-f]{64})", requirements))
    fits = platform_pattern()
    for href in re.findall(r'href="([^"]+)"', page):
        url, _, digest = urllib.parse.urljoin(base, href).partition("#sha256=")
        if digest in pinned and re.search(fits, url):
            return url, digest
    raise LookupError(f"no pinned wheel of uv fits {platform.system()} on {platform.machine()}")


def platform_pattern() -> str:
    """Return a pattern for the end of the wheel's file name on this platform."""
    machine = platform.machine().lower()
    if sys.platform == "darwin":
        return rf"macosx_[0-9_]+_{machine}\.whl$"
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    return rf"{libc}[0-9_a-z.]*_{machine}\.whl$"


if __name__ == "__main__":
    main()
