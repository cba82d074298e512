"""What the script runs in, as observed by the runner: interpreter, platform and installed distributions."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

LISTING_SECONDS_MAX = 20
_LIST_PACKAGES = """
import json, platform, sys
from importlib import metadata
packages = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
print(json.dumps({"python": platform.python_version(), "packages": packages}))
"""


def describe(command: list[str], environment: dict[str, str], folder: Path) -> dict[str, object]:
    """Describe the environment of ``command``; ``digest`` is SHA-256 over the canonical JSON of the rest.

    Where the command is a Python interpreter it is asked itself, because it need not be the runner's.
    """
    found = _ask(command[0], environment, folder) if "python" in Path(command[0]).name else None
    if found is None:
        packages = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
        found = {"python": platform.python_version(), "packages": packages}
    described: dict[str, object] = {
        "python": found["python"],
        "platform": f"{sys.platform}-{platform.machine()}",
        "packages": dict(sorted(found["packages"].items())),
    }
    canonical = json.dumps(described, sort_keys=True, separators=(",", ":")).encode()
    return {**described, "digest": hashlib.sha256(canonical).hexdigest()}


def _ask(interpreter: str, environment: dict[str, str], folder: Path) -> dict[str, Any] | None:
    try:
        answer = subprocess.run(
            [interpreter, "-c", _LIST_PACKAGES],
            capture_output=True,
            check=True,
            cwd=folder,
            env=environment,
            timeout=LISTING_SECONDS_MAX,
        )
        found: dict[str, Any] = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return found
