"""Running the job's command: its own process group, its output line by line, a stop that ends all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Callable

from .failures import CommandNotStarted

POLL_SECONDS = 0.1
PUMP_SECONDS_MAX = 5.0
LINE_BYTES_MAX = 64_000


class Command:
    """One run of the command; ``stop`` may come from any thread and is heard within a tenth of a second."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.command = command
        self._environment = environment
        self._folder = folder
        self._stop_reason: str | None = None

    @property
    def stop_reason(self) -> str | None:
        """Why the command was told to stop, or nothing where it was not."""
        return self._stop_reason

    def stop(self, reason: str) -> None:
        """Ask for the end; the first reason stands."""
        self._stop_reason = self._stop_reason or reason

    def run(self, log: Callable[[str, str], None], *, ends_at: float, grace_seconds: float) -> int:
        """Run to the end and return the exit code, negative for a signal as ``subprocess`` does.

        After ``stop``, or at the Unix time ``ends_at``, the whole group gets SIGTERM and ``grace_seconds`` later
        SIGKILL. What is left of the group when the command itself has ended is killed as well.
        """
        process = self._start()
        pumps = [self._pump(process.stdout, "stdout", log), self._pump(process.stderr, "stderr", log)]
        killed_at: float | None = None
        while process.poll() is None:
            if time.time() >= ends_at:
                self.stop("the hold that pays for this job has ended")
            if self._stop_reason is not None and killed_at is None:
                log("runner", f"stopping: {self._stop_reason}")
                _signal_group(process.pid, signal.SIGTERM)
                killed_at = time.monotonic() + grace_seconds
            elif killed_at is not None and time.monotonic() >= killed_at:
                _signal_group(process.pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        _signal_group(process.pid, signal.SIGKILL)
        for pump in pumps:
            # A process that left the group may hold the pipe open for ever; it is the platform's to kill.
            pump.join(PUMP_SECONDS_MAX)
        return process.returncode

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self.command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError:
            message = f"the command {self.command[0]!r} does not exist in the job's environment"
            raise CommandNotStarted(message, code="COMMAND_NOT_FOUND") from None
        except (OSError, ValueError) as error:
            raise CommandNotStarted(f"the command {self.command[0]!r} could not be started: {error}") from error

    @staticmethod
    def _pump(pipe: IO[bytes] | None, stream: str, log: Callable[[str, str], None]) -> threading.Thread:
        assert pipe is not None, "the process was started with pipes"

        def pump() -> None:
            while line := pipe.readline(LINE_BYTES_MAX):
                log(stream, line.decode("utf-8", errors="replace").rstrip("\r\n"))

        thread = threading.Thread(target=pump, name=stream, daemon=True)
        thread.start()
        return thread


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return
