"""A worker is killed with -9 at each step from hold to settlement, and another finishes: one charge, one version.

API and workers are processes of their own on one database; jobs are real, on this machine and in pods of a cluster.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from guildhall.graphql.ids import decode_id
from scheduler.context import FAULT_POINTS
from tests.cluster.handle import RealCluster
from tests.e2e.faults.conftest import place_on
from tests.e2e.faults.house import House, in_seconds, new_key
from tests.e2e.faults.orders import OrderTaker, taking_orders
from tests.e2e.faults.processes import STOP_SECONDS_MAX, Site, running, start, until

PROGRAM = Path(__file__).with_name("dying_worker.py")
GRACE_SECONDS = 10
"""Longer than a loaded machine takes to a worker's next cycle: a runner ends a cancelled script by itself after it."""
CANCELLED_POINTS = frozenset({"stop.leased", "stop.asked", "stop.recorded"})


@dataclass(frozen=True)
class Workers:
    """The program that forks workers, and the folder in which they prove where they died."""

    program: OrderTaker
    folder: Path

    def die_at(self, point: str, meanwhile: Callable[[], None]) -> None:
        """Let a worker run to the point, and see it killed there. `meanwhile` happens once it has begun."""
        file = self.folder / f"{point}-{new_key()}"
        self.program.send(f"die {point} {file}")
        meanwhile()
        answer = self.program.answer()
        assert file.exists(), f"no worker came past {point}: it ended with {answer}"
        assert answer == -signal.SIGKILL

    @contextmanager
    def ordinary(self) -> Iterator[None]:
        """A worker that lives as long as the block, and ends in order."""
        assert self.program.order("work") == 0
        yield
        assert self.program.order("rest") == 0


@contextmanager
def hired(site: Site, folder: Path) -> Iterator[Workers]:
    """The program, on this installation."""
    with taking_orders(site, PROGRAM) as program:
        yield Workers(program, folder)


@pytest.fixture(scope="module")
def mill(
    ground_database: dict[str, str], ground: RealCluster | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """An API without any worker."""
    with ExitStack() as stack:
        settings = {**ground_database, "GUILDHALL_RUNNER_GRACE_SECONDS": str(GRACE_SECONDS)}
        house = place_on(ground, tmp_path_factory.mktemp("mill"), settings, stack)
        stack.enter_context(running(house.site, "api"))
        house.furnish()
        if ground is not None:
            with running(house.site, "worker"):
                until(lambda: house.book.rows("SELECT 1 FROM pools WHERE slots > 0"), "the nodes are counted")
        yield house


@pytest.fixture(scope="module")
def workers(mill: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with hired(mill.site, tmp_path_factory.mktemp("deaths")) as found:
        yield found


def nothing() -> None:
    """What most deaths need to happen meanwhile."""


def begin(house: House, workers: Workers, point: str) -> tuple[str, str, Callable[[], None]]:
    """Bring a job to where a worker comes past the point: its id, how it has to end, what happens meanwhile."""
    if point == "expire.committed":
        job_id = house.submit("succeed", startBy=in_seconds(1.5))
        # server time: the workers are real processes on the same machine's clock
        late = f"SELECT 1 FROM jobs WHERE id = '{decode_id(job_id, 'Job')}' AND start_by <= clock_timestamp()"
        until(lambda: house.book.rows(late), "its latest start has passed")
        return job_id, "EXPIRED", nothing
    if point == "overdue.recorded":
        job_id = house.submit("wait-deaf", "600", walltimeSeconds=2)
        return job_id, "TIMED_OUT", nothing
    if point in CANCELLED_POINTS:
        # Deaf, because the runner hears of it too, and would be gone before a worker asked.
        job_id = house.submit("wait-deaf", "600")
        with workers.ordinary():
            house.wait_for(job_id, "RUNNING")

        def cancel() -> None:
            house.change("ada", "CancelJob", jobId=job_id, reason="the test asks for it")

        return job_id, "CANCELLED", cancel
    return house.submit("succeed"), "SUCCEEDED", nothing


class TestWorkerKilled:
    @pytest.mark.parametrize("point", FAULT_POINTS)
    def test_at(self, mill: House, workers: Workers, point: str) -> None:
        job_id, state, meanwhile = begin(mill, workers, point)
        workers.die_at(point, meanwhile)
        with workers.ordinary():
            job = mill.wait_for(job_id, state)
            mill.assert_nothing_left(job_id)
        assert job["stateReason"]["message"]
        mill.assert_charged_once(job_id)
        mill.assert_books_balance()
        key = decode_id(job_id, "Job")
        runs = mill.book.rows(
            "SELECT 1 FROM run_intervals JOIN attempts ON attempts.id = run_intervals.attempt_id "
            f"WHERE attempts.job_id = '{key}'"
        )
        assert len(runs) == (0 if state == "EXPIRED" else 1)
        made = mill.book.rows(f"SELECT status FROM model_versions WHERE produced_by_job_id = '{key}'")
        assert [row["status"] for row in made] == (["READY"] if state == "SUCCEEDED" else [])
        ends = f"SELECT 1 FROM job_events WHERE job_id = '{key}' AND state = '{state}' AND from_state <> state"
        assert len(mill.book.rows(ends)) == 1
        assert mill.page(job_id)["state"] == state

    def test_the_audit_record_is_whole_after_all_deaths(self, mill: House) -> None:
        assert start(mill.site, "-m", "guildhall", "verify-audit").wait(STOP_SECONDS_MAX) == 0
