"""What watches over a job is killed by SIGKILL: the runner, or the supervisor that outlives the worker."""

import os
import signal

import psutil
import pytest

from guildhall.graphql.ids import decode_id
from tests.e2e.faults.house import House
from tests.e2e.faults.processes import marked_processes, until


def launch_name(house: House, job_id: str) -> str:
    name: str = house.book.value(f"SELECT name AS value FROM attempts WHERE job_id = '{decode_id(job_id, 'Job')}'")
    return name


def running_job(house: House) -> tuple[str, str]:
    """A job whose script runs, and its launch's name."""
    job_id = house.submit("wait", "600")
    house.wait_for(job_id, "RUNNING")
    name = launch_name(house, job_id)

    def script_runs() -> bool:
        return any("act.py" in " ".join(words) for words in command_lines(marked_processes([name])))

    until(script_runs, "the script runs")
    return job_id, name


def command_lines(pids: list[int]) -> list[list[str]]:
    found = []
    for pid in pids:
        try:
            found.append(psutil.Process(pid).cmdline())
        except psutil.Error:
            continue
    return found


def process_with(word: str, *, of: str) -> int:
    """The process whose command line holds the word and the launch's name; of those forked from one, the first."""
    found = {
        process.pid: process.ppid()
        for process in psutil.process_iter()
        for words in command_lines([process.pid])
        if word in " ".join(words) and of in " ".join(words)
    }
    (first,) = [pid for pid, parent in found.items() if parent not in found]
    return first


class TestWatcherKilled:
    @pytest.mark.parametrize(
        ("watcher", "code", "message"),
        [
            ("runner.pyz", "EXIT_CODE", "it ended with exit code 137"),
            ("local_supervisor", "SUPERVISOR_LOST", "the process that watched over the job is gone"),
        ],
    )
    def test_the_job_ends_and_pays_once(self, workshop: House, watcher: str, code: str, message: str) -> None:
        job_id, name = running_job(workshop)
        os.kill(process_with(watcher, of=name), signal.SIGKILL)
        job = workshop.wait_for(job_id, "FAILED")
        assert job["stateReason"] == {"code": code, "message": message}
        workshop.assert_charged_once(job_id)
        workshop.assert_nothing_left(job_id)
        workshop.assert_books_balance()
        key = decode_id(job_id, "Job")
        assert workshop.book.rows(f"SELECT 1 FROM model_versions WHERE produced_by_job_id = '{key}'") == []


class TestRunnerKilledInMidUpload:
    def test_half_a_version_is_given_up_and_its_bytes_go(self, workshop: House) -> None:
        job_id = workshop.submit("succeed-big")
        key = decode_id(job_id, "Job")
        versions = f"SELECT id, status, status_message FROM model_versions WHERE produced_by_job_id = '{key}'"
        arrived = (
            "SELECT artifacts.id FROM artifact_parts JOIN artifacts ON artifacts.id = artifact_id "
            f"JOIN model_versions ON model_versions.id = owner_id WHERE produced_by_job_id = '{key}'"
        )
        artifact_ids = {row["id"].replace("-", "") for row in until(lambda: workshop.book.rows(arrived), "a part came")}
        os.kill(process_with("runner.pyz", of=launch_name(workshop, job_id)), signal.SIGKILL)

        job = workshop.wait_for(job_id, "FAILED")
        assert job["stateReason"]["code"] == "EXIT_CODE"
        workshop.assert_charged_once(job_id)
        workshop.assert_nothing_left(job_id)
        (version,) = workshop.book.rows(versions)
        assert version["status"] == "ABANDONED"
        assert version["status_message"] == "The job that made this version ended before its files were complete."
        assert workshop.book.rows(arrived) == []
        assert workshop.book.rows(f"SELECT 1 FROM artifacts WHERE owner_id = '{version['id']}'") == []
        store = workshop.site.folder / "artifacts"

        def bytes_left() -> list[str]:
            return [path.name for path in store.rglob("*") if path.is_file() and set(path.parts) & artifact_ids]

        until(lambda: not bytes_left(), "the parts' bytes are deleted")
