"""What every executor promises, asked of each on a real cluster: this machine's processes, and pods.

The fake cluster is left out: it runs no programs. What it promises is what the scheduler's own tests hold it to.
"""

from dataclasses import replace

import pytest

from scheduler.clusters.executor import LaunchConflict, Phase
from tests.scheduler.clusters.benches import CANCELLED, Bench, printed, until, until_printed

UP = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
GENTLE = (
    "import signal, sys, time\n"
    "def leave(*_): print('leaving'); sys.exit(9)\n"
    "signal.signal(signal.SIGTERM, leave)\nprint('up', flush=True)\ntime.sleep(600)"
)
KILLED = (
    "import os, signal; os.fork() or os.kill(os.getpid(), signal.SIGKILL); print(os.wait()[1]); raise SystemExit(137)"
)


class TestLaunch:
    async def test_runs_to_its_end(self, bench: Bench) -> None:
        bench.place("import os; print(os.environ['GUILDHALL_ACCELERATORS'], os.environ['FROM_LAUNCH'])")
        await bench.executor.launch(bench.launch)
        seen = await until(bench.executor, bench.launch.name, Phase.ENDED)
        assert (seen.spec_hash, seen.exit_code, seen.reason) == (bench.launch.spec_hash, 0, None)
        (run,) = seen.runs
        assert run.ended_at is not None
        assert run.started_at <= run.ended_at == seen.ended_at
        assert await printed(bench.executor, bench.launch.name) == ["0,1 yes"]

    async def test_a_second_launch_finds_the_first(self, bench: Bench) -> None:
        bench.place(UP)
        await bench.executor.launch(bench.launch)
        await until_printed(bench.executor, bench.launch.name, "up")
        before = await until(bench.executor, bench.launch.name, Phase.RUNNING)
        await bench.executor.launch(replace(bench.launch, token="another"))
        assert (await until(bench.executor, bench.launch.name, Phase.RUNNING)).runs == before.runs
        assert await printed(bench.executor, bench.launch.name) == ["up"]

    async def test_an_ended_launch_is_not_run_again(self, bench: Bench) -> None:
        bench.place("print('ran')")
        await bench.executor.launch(bench.launch)
        before = await until(bench.executor, bench.launch.name, Phase.ENDED)
        await bench.executor.launch(bench.launch)
        assert await until(bench.executor, bench.launch.name, Phase.ENDED) == before
        assert await printed(bench.executor, bench.launch.name) == ["ran"]

    async def test_another_spec_under_the_name_is_a_conflict(self, bench: Bench) -> None:
        bench.place("pass")
        await bench.executor.launch(bench.launch)
        with pytest.raises(LaunchConflict, match="runs already with another spec"):
            await bench.executor.launch(replace(bench.launch, spec_hash="b" * 64))
        assert (await until(bench.executor, bench.launch.name, Phase.ENDED)).spec_hash == "a" * 64


class TestEnds:
    @pytest.mark.parametrize(("program", "want"), [("raise SystemExit(3)", 3), (KILLED, 137)])
    async def test_exit_code(self, bench: Bench, program: str, want: int) -> None:
        bench.place(program)
        await bench.executor.launch(bench.launch)
        assert (await until(bench.executor, bench.launch.name, Phase.ENDED)).exit_code == want

    async def test_too_much_memory(self, bench: Bench) -> None:
        bench.place("import time; data = bytearray(b'x') * (400 << 20); time.sleep(600)")
        await bench.executor.launch(replace(bench.launch, memory_bytes=100 << 20))
        seen = await until(bench.executor, bench.launch.name, Phase.ENDED)
        assert seen.reason is not None
        assert seen.reason.code == "OUT_OF_MEMORY"


class TestStop:
    async def test_of_an_unknown_name_is_success(self, bench: Bench) -> None:
        await bench.executor.stop(bench.launch.name, grace_seconds=0, reason=CANCELLED)
        assert not await bench.executor.knows(bench.launch.name)

    async def test_while_it_starts(self, bench: Bench) -> None:
        bench.place(UP)
        await bench.executor.launch(bench.launch)
        await bench.executor.stop(bench.launch.name, grace_seconds=0, reason=CANCELLED)
        seen = await until(bench.executor, bench.launch.name, Phase.ENDED)
        assert seen.reason == CANCELLED

    async def test_is_gentle_first(self, bench: Bench) -> None:
        bench.place(GENTLE)
        await bench.executor.launch(replace(bench.launch, grace_seconds=30))
        await until_printed(bench.executor, bench.launch.name, "up")
        await bench.executor.stop(bench.launch.name, grace_seconds=30, reason=CANCELLED)
        seen = await until(bench.executor, bench.launch.name, Phase.ENDED)
        assert (seen.exit_code, seen.reason) == (9, CANCELLED)

    async def test_ends_what_does_not_listen(self, bench: Bench) -> None:
        bench.place(DEAF)
        await bench.executor.launch(bench.launch)
        await until_printed(bench.executor, bench.launch.name, "up")
        await bench.executor.stop(bench.launch.name, grace_seconds=0, reason=CANCELLED)
        seen = await until(bench.executor, bench.launch.name, Phase.ENDED)
        assert (seen.exit_code, seen.reason) == (137, CANCELLED)

    async def test_the_first_reason_stands(self, bench: Bench) -> None:
        bench.place(DEAF)
        await bench.executor.launch(bench.launch)
        await until_printed(bench.executor, bench.launch.name, "up")
        await bench.executor.stop(bench.launch.name, grace_seconds=0, reason=CANCELLED)
        await bench.executor.stop(bench.launch.name, grace_seconds=0, reason=replace(CANCELLED, code="ANOTHER"))
        assert (await until(bench.executor, bench.launch.name, Phase.ENDED)).reason == CANCELLED

    async def test_what_has_ended_stays_as_it_ended(self, bench: Bench) -> None:
        bench.place("raise SystemExit(3)")
        await bench.executor.launch(bench.launch)
        before = await until(bench.executor, bench.launch.name, Phase.ENDED)
        await bench.executor.stop(bench.launch.name, grace_seconds=0, reason=CANCELLED)
        assert await until(bench.executor, bench.launch.name, Phase.ENDED) == before


class TestRestart:
    async def test_a_new_worker_adopts_what_runs(self, bench: Bench) -> None:
        bench.place("import time; print('up', flush=True); time.sleep(3)")
        await bench.executor.launch(bench.launch)
        await until_printed(bench.executor, bench.launch.name, "up")
        restarted = bench.restarted()
        assert (await until(restarted, bench.launch.name, Phase.RUNNING)).ended_at is None
        assert (await until(restarted, bench.launch.name, Phase.ENDED)).exit_code == 0

    async def test_a_new_worker_stops_and_forgets_it(self, bench: Bench) -> None:
        bench.place(UP)
        await bench.executor.launch(bench.launch)
        await until_printed(bench.executor, bench.launch.name, "up")
        restarted = bench.restarted()
        assert await restarted.knows(bench.launch.name)
        await restarted.stop(bench.launch.name, grace_seconds=0, reason=CANCELLED)
        await until(restarted, bench.launch.name, Phase.ENDED)
        await restarted.remove(bench.launch.name)
        assert not await bench.executor.knows(bench.launch.name)


class TestLogs:
    async def test_are_in_order_and_numbered(self, bench: Bench) -> None:
        bench.place("for n in range(500): print(n)")
        await bench.executor.launch(bench.launch)
        await until(bench.executor, bench.launch.name, Phase.ENDED)
        assert await printed(bench.executor, bench.launch.name) == [str(n) for n in range(500)]
        some = await bench.executor.logs(bench.launch.name, after=497, limit=2)
        assert [(line.number, line.text) for line in some] == [(498, "497"), (499, "498")]

    async def test_of_an_unknown_name_are_none(self, bench: Bench) -> None:
        assert await printed(bench.executor, bench.launch.name) == []


class TestRemove:
    async def test_forgets(self, bench: Bench) -> None:
        bench.place("pass")
        await bench.executor.launch(bench.launch)
        await until(bench.executor, bench.launch.name, Phase.ENDED)
        for _ in range(2):
            await bench.executor.remove(bench.launch.name)
        assert not await bench.executor.knows(bench.launch.name)
