"""Jobs as processes of this machine: for a laptop, and for showing the whole product without a cluster.

Each job has a folder (`local_folder`) and a supervisor process (`local_supervisor`) that outlives the worker. As root
on Linux it runs apart (`local_isolation`); otherwise as the caller, who can then reach whatever the caller can reach.
Accelerators are slots: a job is told their numbers in ``GUILDHALL_ACCELERATORS``.
"""

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from guildhall.clock import IdSource
from scheduler.clusters.executor import (
    ContainerRun,
    Launch,
    LaunchConflict,
    LaunchRefused,
    LogLine,
    Machine,
    Observation,
    Phase,
    Reason,
)
from scheduler.clusters.local_folder import LocalFolder, LocalLaunch, LocalState, StopWish, moment
from scheduler.clusters.local_isolation import isolation_available, temporary_name
from scheduler.clusters.runner_archive import runner_archive

USER_IDS = range(61_000, 62_000)
DISK_BYTES_DEFAULT = 16 << 30
START_SECONDS_MAX = 30.0
LEAVE_SECONDS_MAX = 10.0
LOG_BYTES_MAX = 1 << 20
SUPERVISOR_ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}
LAUNCH_MARK = "GUILDHALL_LAUNCH"
REPOSITORY = Path(__file__).resolve().parents[2]

logger = logging.getLogger(__name__)


class LocalExecutor:
    """Launches, watches and ends the jobs whose folders lie in ``folder``.

    One worker at a time may launch; any number may observe, because all that is known stands in the folders.
    """

    def __init__(
        self, folder: Path, *, hidden_folders: Sequence[Path], new_id: IdSource, disk_bytes: int = DISK_BYTES_DEFAULT
    ) -> None:
        self._folder = folder
        self._hidden_folders = hidden_folders
        self._disk_bytes = disk_bytes
        self._new_id = new_id
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}
        self.isolated = isolation_available()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for unfinished in folder.glob(".*"):
            # Drafts and removals that a killed worker left half way.
            shutil.rmtree(unfinished, ignore_errors=True)
        if os.geteuid() == 0 and not self.isolated:
            logger.warning("local jobs run as root: this machine does not let the service make namespaces")

    async def launch(self, launch: Launch) -> None:
        """Start the job, once: the folder's name makes a second call find the first."""
        if launch.sensitive:
            sentence = "the local executor cannot keep RESTRICTED data apart; choose a pool of a cluster"
            raise LaunchRefused("RESTRICTED_NOT_LOCAL", sentence)
        await asyncio.to_thread(self._launch, launch)

    async def observe(self) -> Sequence[Observation]:
        """Every job whose folder is there, ended ones until `remove`."""
        return await asyncio.to_thread(self._observe)

    async def machines(self) -> Sequence[Machine] | None:
        """None: this machine's accelerators are what its pools say."""
        return None

    async def version(self) -> str | None:
        """None: this machine is no cluster software."""
        return None

    async def close(self) -> None:
        """Nothing is held open."""

    async def knows(self, name: str) -> bool:
        """Whether the job's folder is there."""
        return await asyncio.to_thread((self._folder / name).is_dir)

    async def stop(self, name: str, *, grace_seconds: int, reason: Reason) -> None:
        """Ask the supervisor to end the job; it hears within a tenth of a second. An unknown name has ended."""
        folder = LocalFolder(self._folder / name)
        if folder.control.is_dir():
            wish = StopWish(reason.code, reason.message, grace_seconds)
            await asyncio.to_thread(folder.write_stop_wish, wish)

    async def remove(self, name: str) -> None:
        """Delete the folder, and kill what a lost supervisor may have left."""
        await asyncio.to_thread(self._remove, name)

    async def logs(self, name: str, *, after: int, limit: int) -> Sequence[LogLine]:
        """What the runner itself printed, lines numbered from 1; the script's lines come through the runner."""
        return await asyncio.to_thread(self._logs, name, after, limit)

    def _launch(self, launch: Launch) -> None:
        folder = LocalFolder(self._folder / launch.name)
        if not folder.path.exists():
            try:
                self._prepare(folder, launch)
            except OSError as error:
                raise LaunchRefused("LOCAL_FOLDER", f"the job's folder cannot be made: {error.strerror}") from error
        found = folder.launch()
        if found.spec_hash != launch.spec_hash:
            raise LaunchConflict(launch.name, found.spec_hash)
        if folder.state() is None and not folder.supervised():
            self._supervise(folder)

    def _prepare(self, folder: LocalFolder, launch: Launch) -> None:
        draft = LocalFolder(temporary_name(".draft-", self._folder))
        try:
            for path in (draft.control, draft.workspace, draft.token_path.parent, draft.workspace / ".tmp"):
                path.mkdir(mode=0o700)
            draft.runner_path.write_bytes(runner_archive())
            draft.token_path.write_text(launch.token, encoding="ascii")
            draft.token_path.chmod(0o600)
            user_id = self._free_user_id() if self.isolated else None
            draft.write_launch(self._local_launch(folder, launch, user_id))
            if user_id is not None:
                for path in (draft.workspace, *draft.workspace.rglob("*")):
                    os.chown(path, user_id, user_id)
            # The name is taken by a rename, so that a worker killed before it leaves no half-made job.
            draft.path.rename(folder.path)
        except FileExistsError:
            shutil.rmtree(draft.path)
        except BaseException:
            shutil.rmtree(draft.path, ignore_errors=True)
            raise

    def _local_launch(self, folder: LocalFolder, launch: Launch, user_id: int | None) -> LocalLaunch:
        return LocalLaunch(
            name=launch.name,
            spec_hash=launch.spec_hash,
            source_uid=str(self._new_id()),
            interpreter=sys.executable,
            environment=_environment(folder, launch),
            walltime_seconds=launch.walltime_seconds,
            grace_seconds=launch.grace_seconds,
            memory_bytes=launch.memory_bytes,
            disk_bytes=launch.disk_bytes or self._disk_bytes,
            isolated=self.isolated,
            user_id=user_id,
            hidden_folders=[str(path) for path in self._hidden_folders],
        )

    def _free_user_id(self) -> int:
        taken = {folder.launch().user_id for folder in self._folders()}
        for user_id in USER_IDS:
            if user_id not in taken:
                return user_id
        raise LaunchRefused("NO_USER_ID", f"all {len(USER_IDS)} user ids for local jobs are taken")

    def _supervise(self, folder: LocalFolder) -> None:
        with (folder.control / "supervisor.log").open("ab") as log:
            self._supervisors[folder.path.name] = subprocess.Popen(  # noqa: S603 -- our own module
                [sys.executable, "-m", "scheduler.clusters.local_supervisor", str(folder.path)],
                cwd=REPOSITORY,
                env=SUPERVISOR_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _observe(self) -> list[Observation]:
        for name, supervisor in list(self._supervisors.items()):
            if supervisor.poll() is not None:
                del self._supervisors[name]
        return [_observation(folder) for folder in self._folders()]

    def _folders(self) -> list[LocalFolder]:
        return [LocalFolder(path) for path in sorted(self._folder.iterdir()) if not path.name.startswith(".")]

    def _remove(self, name: str) -> None:
        folder = LocalFolder(self._folder / name)
        if not folder.path.exists():
            return
        observed = _observation(folder)
        assert observed.phase in {Phase.ENDED, Phase.LOST}, "a job is removed after it has ended"
        # The end is recorded a moment before the supervisor leaves.
        if (lock := folder.lock_within(LEAVE_SECONDS_MAX)) is None:
            raise TimeoutError(f"the supervisor of {name} recorded an end but does not leave")
        os.close(lock)
        supervisor = self._supervisors.pop(name, None)
        if supervisor is not None:
            supervisor.wait()
        _kill_marked(name)
        # Renamed first: a worker killed in mid-removal leaves a draft, which observes as nothing.
        trash = folder.path.rename(self._folder / f".removed-{name}")
        shutil.rmtree(trash)

    def _logs(self, name: str, after: int, limit: int) -> list[LogLine]:
        folder = LocalFolder(self._folder / name)
        try:
            with folder.platform_log.open("rb") as file:
                lines = file.read(LOG_BYTES_MAX).decode("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [LogLine(number, line) for number, line in enumerate(lines, start=1) if number > after][:limit]


def _environment(folder: LocalFolder, launch: Launch) -> dict[str, str]:
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    return {
        "PATH": tools,
        "HOME": str(folder.workspace),
        "TMPDIR": str(folder.workspace / ".tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **launch.environment,
        LAUNCH_MARK: launch.name,
        "GUILDHALL_API_URL": launch.api_url,
        "GUILDHALL_TOKEN_FILE": str(folder.token_path),
        "GUILDHALL_WORKSPACE": str(folder.workspace),
        "GUILDHALL_GRACE_SECONDS": str(launch.grace_seconds),
        "GUILDHALL_ACCELERATORS": ",".join(str(index) for index in launch.slot_indexes),
    }


def _observation(folder: LocalFolder) -> Observation:
    launch, state = folder.launch(), folder.state()
    supervised = folder.supervised()
    if state is None:
        young = time.time() - folder.path.stat().st_mtime < START_SECONDS_MAX  # noqa: TID251 -- beside a file's time
        phase, reason = Phase.STARTING, None
        if not (supervised or young):
            phase, reason = Phase.LOST, Reason("START_FAILED", "the job's supervisor did not start")
        return Observation(name=launch.name, spec_hash=launch.spec_hash, phase=phase, reason=reason)
    if state.ended_at is None:
        # The lock is asked before the state would be: read again, or an end in between would look like a loss.
        state = folder.state() or state
    return _begun(folder, launch, state, supervised=supervised)


def _begun(folder: LocalFolder, launch: LocalLaunch, state: LocalState, *, supervised: bool) -> Observation:
    started_at = moment(state.started_at)
    if state.ended_at is not None:
        reason = Reason(state.reason_code, state.reason_message or "") if state.reason_code else None
        ended_at = moment(state.ended_at)
        phase, exit_code = Phase.ENDED, state.exit_code
    elif supervised:
        phase, ended_at, exit_code, reason = Phase.RUNNING, None, None, None
    else:
        last_beat = folder.last_beat()
        ended_at = max(started_at, datetime.fromtimestamp(last_beat, UTC)) if last_beat else started_at
        reason = Reason("SUPERVISOR_LOST", "the process that watched over the job is gone")
        phase, exit_code = Phase.LOST, None
    return Observation(
        name=launch.name,
        spec_hash=launch.spec_hash,
        phase=phase,
        runs=(ContainerRun(launch.source_uid, started_at, ended_at),),
        ended_at=ended_at,
        exit_code=exit_code,
        reason=reason,
    )


def _kill_marked(name: str) -> None:
    """Kill processes that still carry the launch's mark; only a killed supervisor leaves any."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(LAUNCH_MARK) == name:
                process.kill()
        except psutil.Error:
            continue
