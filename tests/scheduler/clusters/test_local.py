"""What is the local executor's own; what it shares with others is in `test_executors.py`.

With real processes; where there is root, both ways of running them.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from guildhall.clock import new_id
from scheduler.clusters import local as local_module
from scheduler.clusters.executor import LaunchRefused, Observation, Phase, Reason
from scheduler.clusters.local import LAUNCH_MARK, LocalExecutor
from scheduler.clusters.local_folder import LocalFolder
from scheduler.clusters.local_isolation import isolation_available
from tests.scheduler.clusters.benches import CANCELLED, launch_of

LAUNCH = launch_of("gh-0123456789abcdef0123-1", pool="local-a", slot_indexes=(0, 3), walltime_seconds=60)

Program = Callable[[str], None]


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let coverage follow the supervisors."""
    for name, value in os.environ.items():
        if name.startswith("COVERAGE"):
            monkeypatch.setitem(local_module.SUPERVISOR_ENVIRONMENT, name, value)


@pytest.fixture(params=["isolated", "caller"])
def isolated(request: pytest.FixtureRequest) -> bool:
    if request.param == "isolated" and not isolation_available():
        pytest.skip("needs root and the right to make namespaces")
    return bool(request.param == "isolated")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a program of the test's own in the runner's place."""

    def place(text: str) -> None:
        monkeypatch.setattr(local_module, "runner_archive", text.encode)

    return place


@pytest.fixture
async def executor(tmp_path: Path, isolated: bool) -> AsyncIterator[LocalExecutor]:
    data = tmp_path / "data"
    data.mkdir()
    (data / "secret.key").write_text("secret")
    made = LocalExecutor(data / "jobs", hidden_folders=[data], new_id=new_id)
    made.isolated = isolated
    yield made
    for seen in await made.observe():
        await made.stop(seen.name, grace_seconds=0, reason=CANCELLED)
    for seen in await made.observe():
        await until(made, Phase.ENDED, Phase.LOST)
        await made.remove(seen.name)


async def until(executor: LocalExecutor, *phases: Phase) -> Observation:
    while True:
        (seen,) = await executor.observe()
        if seen.phase in phases:
            return seen
        await asyncio.sleep(0.02)


async def printed(executor: LocalExecutor) -> list[str]:
    return [line.text for line in await executor.logs(LAUNCH.name, after=0, limit=100)]


async def until_printed(executor: LocalExecutor, text: str) -> None:
    while text not in await printed(executor):
        await asyncio.sleep(0.02)


def marked() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(LAUNCH_MARK) == LAUNCH.name and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


class TestLaunch:
    async def test_restricted_data_is_refused(self, executor: LocalExecutor) -> None:
        with pytest.raises(LaunchRefused) as refused:
            await executor.launch(replace(LAUNCH, sensitive=True))
        assert refused.value.code == "RESTRICTED_NOT_LOCAL"
        assert await executor.observe() == []

    async def test_a_worker_killed_before_the_supervisor_leaves_a_launch_to_repeat(
        self, executor: LocalExecutor, program: Program, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program("print('ran')")
        with monkeypatch.context() as patched:
            patched.setattr(executor, "_supervise", lambda _folder: None)
            await executor.launch(LAUNCH)
        assert (await until(executor, Phase.STARTING)).started_at is None
        await executor.launch(LAUNCH)
        await until(executor, Phase.ENDED)
        assert await printed(executor) == ["ran"]


class TestEnds:
    async def test_walltime(self, executor: LocalExecutor, program: Program) -> None:
        program("import time; time.sleep(600)")
        await executor.launch(replace(LAUNCH, walltime_seconds=1))
        seen = await until(executor, Phase.ENDED)
        assert seen.reason == Reason("WALLTIME_REACHED", "the walltime of 1 seconds is over")

    async def test_stop_ends_what_does_not_listen_and_all_it_started(
        self, executor: LocalExecutor, program: Program
    ) -> None:
        program(
            "import os, signal, subprocess, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
            "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n    os._exit(0)\n"
            "print('up', flush=True)\ntime.sleep(600)"
        )
        await executor.launch(LAUNCH)
        await until_printed(executor, "up")
        while len(marked()) < 3:
            await asyncio.sleep(0.02)
        await executor.stop(LAUNCH.name, grace_seconds=0, reason=CANCELLED)
        await until(executor, Phase.ENDED)
        assert marked() == []

    async def test_what_a_finished_job_left_running_is_killed(self, executor: LocalExecutor, program: Program) -> None:
        program("import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)")
        await executor.launch(LAUNCH)
        assert (await until(executor, Phase.ENDED)).exit_code == 0
        assert marked() == []

    async def test_disk_in_many_files(self, executor: LocalExecutor, program: Program) -> None:
        program(
            "import os, time\nfor n in range(8): open(os.environ['GUILDHALL_WORKSPACE'] + f'/{n}', 'wb').write("
            "b'x' * (4 << 20))\ntime.sleep(600)"
        )
        await executor.launch(replace(LAUNCH, disk_bytes=10 << 20))
        seen = await until(executor, Phase.ENDED)
        assert seen.reason is not None
        assert seen.reason.code == "DISK_FULL"

    async def test_disk_in_one_file(self, executor: LocalExecutor, program: Program) -> None:
        program("import os; open(os.environ['GUILDHALL_WORKSPACE'] + '/n', 'wb').write(b'x' * (20 << 20))")
        await executor.launch(replace(LAUNCH, disk_bytes=10 << 20))
        assert (await until(executor, Phase.ENDED)).exit_code == 1
        assert "OSError: [Errno 27] File too large" in await printed(executor)


class TestRestart:
    async def test_a_killed_supervisor_is_a_lost_job(self, executor: LocalExecutor, program: Program) -> None:
        program(
            "import subprocess, time; subprocess.Popen(['sleep', '600'], start_new_session=True);"
            "print('up', flush=True); time.sleep(600)"
        )
        await executor.launch(LAUNCH)
        await until_printed(executor, "up")
        executor._supervisors[LAUNCH.name].kill()
        seen = await until(executor, Phase.LOST)
        assert seen.reason is not None
        assert seen.reason.code == "SUPERVISOR_LOST"
        assert seen.started_at is not None
        assert seen.ended_at is not None
        assert seen.ended_at >= seen.started_at
        await executor.launch(LAUNCH)
        assert (await until(executor, Phase.LOST)).runs == seen.runs
        await executor.remove(LAUNCH.name)
        for process in marked():
            process.wait(timeout=120)
        assert await executor.observe() == []


class TestRemove:
    async def test_leaves_nothing(self, executor: LocalExecutor, program: Program, tmp_path: Path) -> None:
        program("import os; os.makedirs(os.environ['GUILDHALL_WORKSPACE'] + '/a/b')")
        await executor.launch(LAUNCH)
        await until(executor, Phase.ENDED)
        await executor.remove(LAUNCH.name)
        await executor.remove(LAUNCH.name)
        assert list((tmp_path / "data" / "jobs").iterdir()) == []

    async def test_half_done_work_of_a_killed_worker_is_swept(self, tmp_path: Path) -> None:
        (tmp_path / ".draft-x" / "control").mkdir(parents=True)
        (tmp_path / f".removed-{LAUNCH.name}").mkdir()
        LocalExecutor(tmp_path, hidden_folders=[], new_id=new_id)
        assert list(tmp_path.iterdir()) == []


@pytest.fixture
def only_isolated(isolated: bool) -> None:
    if not isolated:
        pytest.skip("the caller's own processes can reach what the caller can")


@pytest.mark.usefixtures("only_isolated")
class TestIsolation:
    async def test_sees_neither_the_data_folder_nor_other_processes(
        self, executor: LocalExecutor, program: Program, tmp_path: Path
    ) -> None:
        program(
            "import os\n"
            f"print(os.path.exists({str(tmp_path / 'data' / 'secret.key')!r}), os.getuid() >= 61000, os.getgroups(),\n"
            "    len([n for n in os.listdir('/proc') if n.isdigit()]) < 5)\n"
            "print(sorted(os.listdir('/tmp')))\n"
            "import sklearn\nopen('/tmp/mine', 'w').write('x')\nprint('imported')"
        )
        await executor.launch(LAUNCH)
        seen = await until(executor, Phase.ENDED)
        # Of /tmp it sees what it needs alone: its own workspace and the interpreter, where they lie in it.
        needed = {path.parts[2] for path in (tmp_path, Path(sys.prefix)) if path.is_relative_to("/tmp")}  # noqa: S108
        assert await printed(executor) == ["False True [] True", str(sorted(needed)), "imported"]
        assert seen.exit_code == 0
        assert not Path("/tmp/mine").exists()  # noqa: S108

    async def test_two_jobs_have_two_users(self, executor: LocalExecutor, program: Program, tmp_path: Path) -> None:
        program("pass")
        other = replace(LAUNCH, name="gh-fedcba98765432100123-1")
        await executor.launch(LAUNCH)
        await executor.launch(other)
        folders = [LocalFolder(tmp_path / "data" / "jobs" / launch.name) for launch in (LAUNCH, other)]
        assert len({folder.launch().user_id for folder in folders}) == 2
        assert all(folder.token_path.stat().st_uid == folder.launch().user_id for folder in folders)
        while any(seen.phase is not Phase.ENDED for seen in await executor.observe()):
            await asyncio.sleep(0.02)
        await executor.remove(other.name)
