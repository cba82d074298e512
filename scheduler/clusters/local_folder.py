"""The folder of one local job: what the executor, its supervisor and a restarted worker tell each other through files.

::

    NAME/control/launch.json      what was asked for, without the token; written before the folder has its name
    NAME/control/lock             held by the supervisor for as long as it lives
    NAME/control/state.json       what the supervisor recorded; replaced whole
    NAME/control/heartbeat        touched every second while the job runs
    NAME/control/stop.json        the executor's wish to end the job
    NAME/control/platform.log     what the runner itself printed
    NAME/workspace/               the job's own; all that it may write
"""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

RUNNER_NAME = "runner.pyz"
TOKEN_NAME = "token"  # noqa: S105 -- the name of a file


@dataclass(frozen=True)
class LocalLaunch:
    """What the supervisor needs to know; everything but the token, which is a file of the workspace."""

    name: str
    spec_hash: str
    source_uid: str
    interpreter: str
    environment: dict[str, str]
    walltime_seconds: int
    grace_seconds: int
    memory_bytes: int | None
    disk_bytes: int
    isolated: bool
    user_id: int | None
    hidden_folders: list[str]


@dataclass(frozen=True)
class LocalState:
    """What is known of a run; times are RFC 3339, an end without a code means that the code is unknown."""

    started_at: str
    ended_at: str | None = None
    exit_code: int | None = None
    reason_code: str | None = None
    reason_message: str | None = None


@dataclass(frozen=True)
class StopWish:
    """Why and how gently the job should end."""

    code: str
    message: str
    grace_seconds: int


class LocalFolder:
    """Typed access to the files above."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.control = path / "control"
        self.workspace = path / "workspace"

    @property
    def runner_path(self) -> Path:
        """The zipapp that runs the job."""
        return self.workspace / ".guildhall" / RUNNER_NAME

    @property
    def token_path(self) -> Path:
        """The attempt's token, readable by the job alone."""
        return self.workspace / ".guildhall" / TOKEN_NAME

    @property
    def platform_log(self) -> Path:
        """Standard output and error of the runner."""
        return self.control / "platform.log"

    def launch(self) -> LocalLaunch:
        """What was asked for."""
        return LocalLaunch(**json.loads((self.control / "launch.json").read_bytes()))

    def write_launch(self, launch: LocalLaunch) -> None:
        """Written once, before the folder gets its name."""
        write_whole(self.control / "launch.json", asdict(launch))

    def state(self) -> LocalState | None:
        """What the supervisor recorded last, or nothing if it has not begun."""
        found = _read(self.control / "state.json")
        return None if found is None else LocalState(**found)

    def write_state(self, state: LocalState) -> None:
        """Replace the record; it is on disk when this returns."""
        write_whole(self.control / "state.json", asdict(state))

    def stop_wish(self) -> StopWish | None:
        """The executor's wish to end the job, if there is one."""
        found = _read(self.control / "stop.json")
        return None if found is None else StopWish(**found)

    def write_stop_wish(self, wish: StopWish) -> None:
        """The first wish stands: a second one changes neither reason nor grace."""
        if self.stop_wish() is None:
            write_whole(self.control / "stop.json", asdict(wish))

    def beat(self) -> None:
        """Say that the supervisor lives."""
        (self.control / "heartbeat").touch()

    def last_beat(self) -> float | None:
        """When the supervisor was last known to live, in Unix time."""
        try:
            return (self.control / "heartbeat").stat().st_mtime
        except FileNotFoundError:
            return None

    def lock_within(self, seconds: float) -> int | None:
        """As `try_lock`, but patient: whoever asks whether a supervisor lives holds the lock for a moment too."""
        ends_at = time.monotonic() + seconds
        while (descriptor := self.try_lock()) is None and time.monotonic() < ends_at:
            time.sleep(0.01)
        return descriptor

    def try_lock(self) -> int | None:
        """Take the supervisor's lock and answer with its descriptor, or nothing while a supervisor lives.

        The kernel gives the lock back when its holder dies, so it cannot be mistaken as a recorded pid can.
        """
        descriptor = os.open(self.control / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def supervised(self) -> bool:
        """Whether a supervisor lives now."""
        descriptor = self.try_lock()
        if descriptor is None:
            return True
        os.close(descriptor)
        return False


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that a reader, or a machine that loses power, sees the old file or the new one."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        file.write(json.dumps(content).encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def moment(text: str) -> datetime:
    """Read a time of a state file."""
    return datetime.fromisoformat(text)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return found
