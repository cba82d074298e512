"""jobs, logs, cancel in this process; with a real job they are tried in `test_running`."""

from collections.abc import Callable
from typing import Any

import pytest

from guildhall_client.command.exits import Exit
from guildhall_client.command.jobs import Follower, _row
from tests.client.command.conftest import Command, Ended

JOB = {
    "id": "Job_1",
    "name": "train",
    "team": {"name": "vision"},
    "state": "QUEUED",
    "stateReason": {"code": "NO_SLOTS", "message": "All slots are taken."},
    "pool": None,
    "createdAt": "2026-11-21T12:00:00Z",
    "charge": {"captured": "0"},
}


def change(**given: Any) -> dict[str, Any]:
    return {"cursor": "c", "state": None, "stateReason": None, "logLine": None, "metric": None, **given}


def run(command: Command, name: str) -> list[str]:
    """The words that submit a job which ends at once."""
    folder = command.folder / "code"
    folder.mkdir()
    (folder / "train.py").write_text("print('here')")
    return ["run", "--folder", "code", "--walltime", "10m", "--yes", "--detach", "--name", name, "--", "true"]


class Followed:
    """A client that has these changes to tell, and keeps from where it was asked to go on."""

    def __init__(self, *changes: dict[str, Any]) -> None:
        self.changes = changes
        self.after: list[str | None] = []

    def follow_job(self, job_id: str, after: str | None) -> Any:
        assert job_id == "Job_1"
        self.after.append(after)
        return iter(self.changes)


class TestJobs:
    def test_all_filters_at_once(self, here: Callable[..., Ended]) -> None:
        ended = here(
            "jobs", "--team", "maintenance", "--state", "expired", "--name", "none-of-this", "--since", "2026-01-01"
        )
        assert ended == Ended(0, "", "No such jobs.\n")

    def test_watched_through_a_pipe_ends_also_where_colour_is_forced(self, mira: Command) -> None:
        ended = mira("jobs", "--watch", "--name", "none-of-this", FORCE_COLOR="1", TERM="xterm")
        assert (ended.code, ended.out) == (0, "")
        assert "No such jobs." in ended.err

    def test_for_programs(self, here: Callable[..., Ended]) -> None:
        told = here("jobs", "--name", "none-of-this", "--json").json
        assert told == {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}

    def test_ones_own(self, mira: Command, person: Callable[[str], Command]) -> None:
        job = mira.ok(*run(mira, "whose")).out.strip()
        assert [each["id"] for each in mira.ok("jobs", "--mine", "--name", "whose", "--json").json["nodes"]] == [job]
        milan = person("milan")
        assert [each["id"] for each in milan.ok("jobs", "--name", "whose", "--json").json["nodes"]] == [job]
        assert milan.ok("jobs", "--mine").err == "No such jobs.\n"

    def test_an_id_is_never_broken_over_lines(self, mira: Command) -> None:
        job = mira.ok(*run(mira, "narrow")).out.strip()
        with mira.terminal("jobs", "--name", "narrow", COLUMNS="80") as terminal:
            assert terminal.end() == 0
        assert job in terminal.said

    def test_watched_until_interrupted(self, mira: Command) -> None:
        with mira.terminal("jobs", "--mine", "--watch", "--name", "watched") as terminal:
            terminal.until("No such jobs.")
            mira.ok(*run(mira, "watched"))
            terminal.until("SUCCEEDED")
            assert terminal.insist("\x03") == 130
        assert "Interrupted." in terminal.said
        assert "Traceback" not in terminal.said

    @pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}])
    def test_a_pipe_gets_one_table(self, mira: Command, environment: dict[str, str]) -> None:
        assert mira.ok("jobs", "--watch", "--name", "none-of-this", **environment).err == "No such jobs.\n"

    def test_watching_is_for_people(self, here: Callable[..., Ended]) -> None:
        ended = here("jobs", "--watch", "--json")
        assert (ended.code, ended.out) == (2, "")
        assert "give one of the two" in ended.err

    def test_a_row(self) -> None:
        assert _row(JOB) == [
            "Job_1", "train", "vision", "QUEUED", None, "2026-11-21 12:00 UTC", "0", "All slots are taken.",
        ]  # fmt: skip
        assert _row({**JOB, "pool": {"name": "small"}, "stateReason": None})[4::3] == ["small", ""]


class TestLogs:
    @pytest.mark.parametrize("more", [[], ["-f"], ["--json"]])
    def test_there_is_no_such_job(self, here: Callable[..., Ended], more: list[str]) -> None:
        ended = here("logs", "Job_0", *more)
        assert (ended.code, ended.out) == (3, "")
        assert ended.err == "guildhall: There is no job Job_0 that you may see; `guildhall jobs` lists them.\n"

    def test_cancelling_none(self, here: Callable[..., Ended]) -> None:
        assert here("cancel", "Job_0").code == 3


class TestFollower:
    def test_states_beside_the_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        client = Followed(
            change(state="RUNNING"),
            change(logLine={"text": "line 0"}),
            change(metric={"name": "loss"}),
            change(state="FAILED", stateReason={"message": "It ended with 1."}, cursor="end"),
        )
        follower = Follower(client, "Job_1")  # type: ignore[arg-type]
        assert follower.to_end() is Exit.JOB_FAILED
        said = capsys.readouterr()
        assert (said.out, said.err) == ("line 0\n", "— RUNNING\n— FAILED: It ended with 1.\n")
        client.changes = (change(state="SUCCEEDED"),)
        assert follower.to_end() is Exit.OK
        assert client.after == [None, "end"]

    def test_lines_of_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        told = change(state="SUCCEEDED")
        follower = Follower(Followed(told), "Job_1", as_json=True)  # type: ignore[arg-type]
        assert follower.to_end() is Exit.OK
        assert Ended(0, capsys.readouterr().out, "").json == told
