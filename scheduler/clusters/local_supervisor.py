"""The parent process of one local job: it outlives the worker, records start and end, and leaves no process behind.

``python -m scheduler.clusters.local_supervisor FOLDER``. The interval that is billed is the one recorded here.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil

from guildhall.clock import SystemClock
from scheduler.clusters.local_folder import LocalFolder, LocalLaunch, LocalState, StopWish
from scheduler.clusters.local_isolation import (
    become_subreaper,
    die_with_parent,
    interpreter_folders,
    limit_resources,
    start_isolated,
)

POLL_SECONDS = 0.1
USAGE_SECONDS = 0.5
LOCK_SECONDS_MAX = 3.0
KILL_ROUNDS_MAX = 100
WALLTIME_REACHED = "WALLTIME_REACHED"
OUT_OF_MEMORY = "OUT_OF_MEMORY"
DISK_FULL = "DISK_FULL"


def main(arguments: list[str]) -> int:
    """Supervise the job of the one folder; a second supervisor of the same folder leaves at once."""
    folder = LocalFolder(Path(arguments[0]))
    lock = folder.lock_within(LOCK_SECONDS_MAX)
    if lock is None or folder.state() is not None:
        # A job whose supervisor died has been lost: to run its command again would run it twice.
        return 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _Supervisor(folder, folder.launch()).run()
    return 0


class _Supervisor:
    def __init__(self, folder: LocalFolder, launch: LocalLaunch) -> None:
        self._folder = folder
        self._launch = launch
        self._clock = SystemClock()
        self._wish: StopWish | None = None
        self._kill_at: float | None = None
        self._deadline = time.monotonic() + launch.walltime_seconds

    def run(self) -> None:
        become_subreaper()
        # Recorded before the first process exists: a supervisor that dies in between leaves a lost run, never a
        # forgotten one.
        state = LocalState(started_at=self._clock.now().isoformat())
        self._folder.beat()
        self._folder.write_state(state)
        try:
            exit_code = self._watch(self._start())
            if exit_code != 0:
                # Who could not write any more often ends by itself before the next look, and says less clearly why.
                self._check_disk()
        except OSError as error:
            message = f"the job's first process could not be started: {error.strerror}"
            self._wish = StopWish("START_FAILED", message, 0)
            exit_code = None
        self._end_all()
        ended = replace(state, ended_at=self._clock.now().isoformat(), exit_code=exit_code)
        if self._wish is not None:
            ended = replace(ended, reason_code=self._wish.code, reason_message=self._wish.message)
        self._folder.write_state(ended)

    def _start(self) -> int:
        launch, folder = self._launch, self._folder
        command = [launch.interpreter, str(folder.runner_path)]
        with folder.platform_log.open("ab") as log:
            if launch.isolated:
                assert launch.user_id is not None, "an isolated job has a user of its own"
                return start_isolated(
                    command,
                    environment=launch.environment,
                    workspace=folder.workspace,
                    user_id=launch.user_id,
                    hidden_folders=[Path(hidden) for hidden in launch.hidden_folders],
                    readable_folders=interpreter_folders(),
                    disk_bytes=launch.disk_bytes,
                    output=log.fileno(),
                )
            process = subprocess.Popen(  # noqa: S603 -- the runner, by its absolute path
                command,
                cwd=folder.workspace,
                env=launch.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=self._before_command,  # noqa: PLW1509 -- this process has one thread
            )
            return process.pid

    def _before_command(self) -> None:  # pragma: no cover -- runs between fork and exec
        die_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        limit_resources(disk_bytes=self._launch.disk_bytes, own_user=False)

    def _watch(self, pid: int) -> int | None:
        next_usage = 0.0
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if time.monotonic() >= next_usage:
                self._folder.beat()
                self._check_usage()
                next_usage = time.monotonic() + USAGE_SECONDS
            if self._wish is None:
                self._wish = self._folder.stop_wish() or self._overdue()
            self._follow_wish(pid)
            time.sleep(POLL_SECONDS)

    def _follow_wish(self, pid: int) -> None:
        if self._wish is None:
            return
        if self._kill_at is None:
            os.kill(pid, signal.SIGTERM)
            self._kill_at = time.monotonic() + self._wish.grace_seconds
        elif time.monotonic() >= self._kill_at:
            os.kill(pid, signal.SIGKILL)

    def _overdue(self) -> StopWish | None:
        if time.monotonic() < self._deadline:
            return None
        message = f"the walltime of {self._launch.walltime_seconds} seconds is over"
        return StopWish(WALLTIME_REACHED, message, self._launch.grace_seconds)

    def _check_usage(self) -> None:
        self._check_disk()
        limit = self._launch.memory_bytes
        if limit is None or self._wish is not None:
            return
        resident_bytes = sum(_resident_bytes(process) for process in _descendants())
        if resident_bytes > limit:
            message = f"the job's processes hold {resident_bytes} bytes of memory, {limit} were asked for"
            self._wish = StopWish(OUT_OF_MEMORY, message, 0)

    def _check_disk(self) -> None:
        if self._wish is not None:
            return
        used_bytes = _folder_bytes(self._folder.workspace)
        if used_bytes > self._launch.disk_bytes:
            message = f"the workspace holds {used_bytes} bytes, {self._launch.disk_bytes} are allowed"
            self._wish = StopWish(DISK_FULL, message, 0)

    @staticmethod
    def _end_all() -> None:
        """Kill what the command left, until nothing is: as subreaper every orphan of it is a descendant of ours."""
        for _ in range(KILL_ROUNDS_MAX):
            left = _descendants()
            if not left:
                return
            for process in left:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            _reap()
            time.sleep(0.01)


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _folder_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118 -- a path per file is slow
            except FileNotFoundError:
                continue
    return total


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
