"""Packs ``scheduler/runner`` into the zipapp that every executor puts beside a job."""

from __future__ import annotations

import io
import zipfile
from functools import lru_cache
from pathlib import Path

RUNNER_FOLDER = Path(__file__).parent.parent / "runner"
PACKAGE = "guildhall_runner"
BRINGING = "bringing.py"
START = f"import sys\nfrom {PACKAGE}.main import main\nsys.exit(main())\n"
# A fixed time makes the same sources the same bytes, so that the archive's digest says which runner ran.
ENTRY_TIME = (1980, 1, 1, 0, 0, 0)


@lru_cache(maxsize=1)
def runner_archive() -> bytes:
    """Return the zipapp: run it with ``python runner.pyz``, Python 3.9 or newer, nothing to install."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", START)
        for source in sorted(RUNNER_FOLDER.glob("*.py")):
            if source.name not in {"__main__.py", BRINGING}:
                _add(archive, f"{PACKAGE}/{source.name}", source.read_text(encoding="utf-8"))
    return buffer.getvalue()


@lru_cache(maxsize=1)
def bringing_source() -> str:
    """What fetches the archive where it cannot be put beside a job: run it with ``python3 -c``."""
    return (RUNNER_FOLDER / BRINGING).read_text(encoding="utf-8")


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(zipfile.ZipInfo(name, ENTRY_TIME), text, zipfile.ZIP_DEFLATED)
