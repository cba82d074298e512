"""What the init container of a pod does: fetch the runner from our API. Sent as source; Python 3.9, nothing to install.

It fails with one sentence, which the platform shows, and before the job's own container has started: nothing is paid.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import urllib.request
from pathlib import Path

SECONDS_MAX = 300.0
PAUSE_SECONDS_MAX = 10.0
TIMEOUT_SECONDS = 30.0
EXIT_TERMINATED = 128 + signal.SIGTERM
FINAL_STATUSES = frozenset({400, 401, 403, 404, 410})


def fetch(url: str, token: str, target: Path) -> None:
    """Write the runner to ``target``, whole or not at all."""
    part = target.with_suffix(".part")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, part.open("wb") as file:
        shutil.copyfileobj(answer, file)
    part.replace(target)


def main() -> int:
    """Try for SECONDS_MAX; 0 once it lies there."""
    # As a container's first process it would not hear a SIGTERM that nobody handles, and hold up its pod's end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    url = os.environ["GUILDHALL_API_URL"].rstrip("/") + "/runner/v1/archive"
    token = Path(os.environ["GUILDHALL_TOKEN_FILE"]).read_text(encoding="ascii").strip()
    target = Path(os.environ["GUILDHALL_RUNNER"])
    ends_at, pause_seconds = time.monotonic() + SECONDS_MAX, 0.2
    while not target.exists():
        try:
            fetch(url, token, target)
        except OSError as error:
            final = getattr(error, "code", None) in FINAL_STATUSES
            if final or time.monotonic() + pause_seconds > ends_at:
                print(f"the runner could not be fetched from {url}: {error}", file=sys.stderr, flush=True)
                return 1
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, PAUSE_SECONDS_MAX)
    return 0


if __name__ == "__main__":
    sys.exit(main())
