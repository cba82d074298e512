"""What scripts do wrong: each ends in one clear sentence, pays for its interval, and leaves nothing behind."""

from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from demo.contract import document
from guildhall.graphql.ids import decode_id
from tests.e2e.faults.house import House

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Case:
    """A job and how it must end: its state, its reason (the sentence's beginning), its log and its versions."""

    act: tuple[str, ...]
    state: str
    code: str
    message: str
    log: str = ""
    exit_code: int | None = None
    versions: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)


CASES = {
    "succeeds": Case(
        ("succeed",), "SUCCEEDED", "SUCCEEDED", "the command ended well", exit_code=0, versions=("READY",)
    ),
    "exits 1": Case(
        ("exit",), "FAILED", "EXIT_CODE", "the command ended with exit code 1", log="this went wrong", exit_code=1
    ),
    "is killed": Case(
        ("die",), "FAILED", "KILLED_BY_SIGNAL", "the command was killed by signal 9 (SIGKILL)", exit_code=137
    ),
    "does not exist": Case(
        (), "FAILED", "COMMAND_NOT_FOUND", "the command 'no-such-program' does not exist in the job's environment",
        log="does not exist", exit_code=70, more={"name": "does-not-exist", "command": ["no-such-program", "--fast"]},
    ),
    "script does not exist": Case(
        (), "FAILED", "EXIT_CODE", "the command ended with exit code 2", log="can't open file", exit_code=2,
        more={"name": "no-script", "command": ["python", "absent.py"]},
    ),
    "writes no output": Case(
        ("leave-nothing",), "FAILED", "OUTPUT_MISSING", "the command ended well but its output folder output is empty",
        exit_code=70,
    ),
    "fills the disk with many files": Case(
        ("fill-with-many",), "FAILED", "DISK_FULL", "the workspace holds ",
    ),
    "fills the disk with one file": Case(
        ("fill-with-one",), "FAILED", "DISK_FULL", "the workspace holds ",
    ),
    "fills the disk that it asked for": Case(
        ("fill-with-many",), "FAILED", "DISK_FULL", "the workspace holds ",
        more={
            "name": "small-disk",
            "perNode": {"accelerator": "sim", "acceleratorCount": 1, "diskBytes": str(8 * MEBIBYTE)},
        },
    ),
    "leaves children": Case(
        ("leave-children",), "SUCCEEDED", "SUCCEEDED", "the command ended well", exit_code=0, versions=("READY",)
    ),
    "leaves a link": Case(
        ("link",), "FAILED", "OUTPUT_INVALID", "passwords: a link cannot be registered", exit_code=70
    ),
    "is over its walltime": Case(
        ("wait", "600"), "TIMED_OUT", "WALLTIME_REACHED", "", more={"walltimeSeconds": 2}
    ),
    "does not listen": Case(
        ("wait-deaf", "600"), "TIMED_OUT", "WALLTIME_REACHED", "", more={"walltimeSeconds": 2}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def job_ids(workshop: House) -> dict[str, str]:
    """All of them submitted at once: two run at a time, the others wait in line."""
    return {name: workshop.submit(*case.act, **case.more) for name, case in CASES.items()}


@pytest.mark.parametrize("name", CASES)
class TestScript:
    def test_ends_in_one_sentence(self, workshop: House, job_ids: dict[str, str], name: str) -> None:
        case = CASES[name]
        job = workshop.wait_for(job_ids[name])
        reason = job["stateReason"]
        assert (job["state"], reason["code"]) == (case.state, case.code)
        assert reason["message"].startswith(case.message)
        assert reason["message"].strip()
        assert "\n" not in reason["message"]
        assert "Traceback" not in reason["message"]
        (attempt,) = job["attempts"]["nodes"]
        assert case.exit_code is None or attempt["exitCode"] == case.exit_code
        assert case.log in job["logTail"]
        (interval,) = attempt["runIntervals"]
        assert interval["startedAt"] <= interval["endedAt"]

    def test_pays_for_its_interval_only(self, workshop: House, job_ids: dict[str, str], name: str) -> None:
        workshop.wait_for(job_ids[name])
        workshop.assert_charged_once(job_ids[name])
        workshop.assert_books_balance()

    def test_leaves_nothing_behind(self, workshop: House, job_ids: dict[str, str], name: str) -> None:
        job = workshop.wait_for(job_ids[name])
        workshop.assert_nothing_left(job_ids[name])
        key = decode_id(job_ids[name], "Job")
        made = workshop.book.rows(f"SELECT status FROM model_versions WHERE produced_by_job_id = '{key}'")
        assert [row["status"] for row in made] == list(CASES[name].versions)
        stored = workshop.book.rows(
            "SELECT artifacts.state FROM artifacts JOIN model_versions ON model_versions.id = artifacts.owner_id "
            f"WHERE model_versions.produced_by_job_id = '{key}'"
        )
        assert [row["state"] for row in stored] == ["STORED", "STORED"] * len(made)
        assert len(job["outputs"]) == len(made)


class TestTokenOfAnEndedJob:
    def test_opens_nothing_any_more(self, workshop: House) -> None:
        job = workshop.wait_for(workshop.submit("show-token"), "SUCCEEDED")
        (line,) = [line for line in job["logTail"].splitlines() if line.startswith("token ")]
        token = line.removeprefix("token ")[::-1]
        told = workshop.told(token, document("Viewer"))
        assert (told.status, told.codes) == (401, ["TOKEN_REFUSED"])
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{workshop.site.url}/runner/v1/assignment", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "TOKEN_REFUSED")
