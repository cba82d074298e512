"""quote, run, jobs, logs, cancel, wallet: a real job on this machine, also with Ctrl-C at a terminal."""

import re
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from guildhall_client.command.job_options import Asked
from guildhall_client.command.jobs import Follower
from guildhall_client.command.running import _show
from tests.client.command.conftest import HEARING, PROGRAM, Command, Ended, interrupt

SCRIPT = """
import os, sys, time
for line in range(int(sys.argv[1])):
    print("line", line, flush=True)
    time.sleep(float(os.environ.get("PAUSE", "0")))
os.makedirs("output", exist_ok=True)
open("output/weights.bin", "wb").write(b"x" * 1000)
print("with", sorted(os.listdir(".")), flush=True)
sys.exit(int(os.environ.get("CODE", "0")))
"""
WALLTIME = ["--walltime", "10m"]
REGISTER = [
    "model",
    "publish",
    "maintenance/runner-made",
    "--folder",
    "code",
    "--draft",
    "--task",
    "t",
    "--risk",
    "low",
]


@pytest.fixture
def folder(mira: Command) -> Path:
    made = mira.folder / "code"
    made.mkdir()
    (made / "train.py").write_text(SCRIPT)
    (made / "secret.env").write_text("not for the server")
    (made / "data").mkdir()
    (made / "data" / "big.csv").write_text("not for the server either")
    (made / ".guildhallignore").write_text("*.env\ndata/\n")
    return made


def run(*more: str, lines: int = 2) -> list[str]:
    return ["run", "--folder", "code", *WALLTIME, *more, "--", "python", "train.py", str(lines)]


@pytest.mark.usefixtures("folder")
class TestRun:
    def test_to_its_result(self, mira: Command) -> None:
        mira.ok(*REGISTER)
        ended = mira.ok(*run("--yes", "--output", "maintenance/runner-made", "--env", "A=b"))
        lines = ended.out.splitlines()
        assert lines[:2] == ["line 0", "line 1"]
        assert "train.py" in lines[2]
        assert "secret.env" not in lines[2]
        assert "data" not in lines[2]
        assert re.fullmatch(r"code SUCCEEDED: [0-9.]+ credits, [0-9.]+ came back\.", lines[-1])
        assert "Packing 2 files" in ended.err
        assert ", without what .guildhallignore names." in ended.err
        assert "runner-made@2: 1 file, 1000 B in runner-made-v2." in ended.err
        assert (mira.folder / "runner-made-v2" / "weights.bin").read_bytes() == b"x" * 1000

    def test_one_that_fails(self, mira: Command) -> None:
        ended = mira(*run("--yes", "--json", "--env", "CODE=3"))
        assert ended.code == 6
        assert ended.json["state"] == "FAILED"
        assert ended.json["folders"] == []
        assert "line 0\nline 1\n" in ended.err

    def test_detached_listed_followed_cancelled(self, mira: Command) -> None:
        job = mira.ok(*run("--yes", "--detach", "--name", "long-one", "--env", "PAUSE=1", lines=600)).out.strip()
        assert job.startswith("Job_")
        found = mira.ok("jobs", "--team", "maintenance", "--name", "long-one", "--since", "2026-01-01", "--json").json
        assert [node["id"] for node in found["nodes"]] == [job]
        with mira.terminal("logs", "-f", job) as terminal:
            terminal.until("line 1")
            assert terminal.insist("\x03") == 130
        assert "line 0" in mira.ok("logs", job).out
        assert mira.ok("logs", job, "--lines", "5", "--json").json["state"] == "RUNNING"
        assert mira.ok("cancel", job, "--reason", "enough").out == f"{job} is STOPPING.\n"
        followed = mira("logs", "-f", job)
        assert followed.code == 6
        assert "— CANCELLED" in followed.err
        cancelled = mira.ok("jobs", "--state", "cancelled").out  # as wide as what other tests cancelled
        assert re.search(rf"^{job} +long-one +maintenance +CANCELLED ", cancelled, re.MULTILINE)
        assert mira.ok("cancel", job).out == f"{job} is CANCELLED.\n"
        shown = mira.ok("wallet", "maintenance").out
        assert "zero-defects" in shown
        assert mira.ok("wallet", GUILDHALL_TEAM="maintenance").out == shown

    def test_json_lines(self, mira: Command) -> None:
        job = mira.ok(*run("--yes", "--detach", "--json")).json["id"]
        followed = mira.ok("logs", "-f", job, "--json").out.splitlines()
        assert any('"text": "line 1"' in line for line in followed)

    def test_asked_and_told_no(self, mira: Command) -> None:
        with mira.terminal(*run()) as terminal:
            terminal.until("Accept the quote and hold these credits? [y/N]: ")
            terminal.press("n\r")
            assert terminal.end() == 130
        assert "Nothing was done." in terminal.said
        assert "hold" in terminal.said

    def test_ctrl_c_stops(self, mira: Command) -> None:
        with mira.terminal(*run("--env", "PAUSE=1", lines=600)) as terminal:
            terminal.until("[y/N]: ")
            terminal.press("y\r")
            terminal.until("line 1")
            terminal.insist_until("\x03", "(stop, detach) [detach]: ")
            terminal.press("stop\r")
            assert terminal.end() == 6
        assert "Stopping the job." in terminal.said
        assert terminal.said.count("line 0") == 1
        assert "CANCELLED" in terminal.said

    @pytest.mark.parametrize("answer", ["detach\r", "\x03"])
    def test_ctrl_c_detaches(self, mira: Command, answer: str) -> None:
        with mira.terminal(*run("--yes", "--env", "PAUSE=1", lines=600)) as terminal:
            terminal.until("line 1")
            terminal.insist_until("\x03", "(stop, detach) [detach]: ")
            assert terminal.insist(answer) == 0
        (job,) = set(re.findall(r"logs -f (Job_\w+)", terminal.said))
        assert mira.ok("logs", job, "--json").json["state"] == "RUNNING"
        mira.ok("cancel", job)

    def test_interrupted_without_a_terminal_the_job_goes_on(self, mira: Command) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", HEARING, PROGRAM, *run("--yes", "--env", "PAUSE=1", lines=600)],
            cwd=mira.folder,
            env=mira.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "line 0\n"
        err = interrupt(process)
        assert process.returncode == 130
        (job,) = set(re.findall(r"guildhall cancel (Job_\w+)", err))
        mira.ok("cancel", job)


class Keyboard(StringIO):
    """A terminal on which these keys will be pressed."""

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("folder")
class TestRunInThisProcess:
    """Ctrl-C at a moment that is sure: before the first line of a real job's log."""

    @pytest.fixture
    def interrupted(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How often it was; the first time only."""
        times: list[int] = []
        to_end = Follower.to_end

        def once(follower: Follower) -> Any:
            times.append(1)
            if len(times) == 1:
                raise KeyboardInterrupt
            return to_end(follower)

        monkeypatch.setattr(Follower, "to_end", once)
        return times

    def test_stop(self, here: Callable[..., Ended], interrupted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", Keyboard("stop\n"))
        ended = here(*run("--yes", "--env", "PAUSE=1", lines=600))
        assert ended.code == 6
        assert "Stop the job, or detach and leave it running? (stop, detach) [detach]: " in ended.err
        assert "Stopping the job." in ended.err
        assert re.search(r"\ncode CANCELLED: [0-9.]+ credits, [0-9.]+ came back\.\n$", f"\n{ended.out}")
        assert len(interrupted) == 2

    @pytest.mark.parametrize("keys", ["\n", "detach\n", ""])
    def test_detach(
        self, here: Callable[..., Ended], interrupted: list[int], monkeypatch: pytest.MonkeyPatch, keys: str
    ) -> None:
        """The last of them is Ctrl-D: only a clear word stops the job."""
        monkeypatch.setattr(sys, "stdin", Keyboard(keys))
        ended = here(*run("--yes", "--env", "PAUSE=1", lines=600))
        assert (ended.code, ended.out) == (0, "")
        (job,) = re.findall(r"The job goes on; follow it with `guildhall logs -f (Job_\w+)`\.", ended.err)
        assert here("cancel", job, "--json").json["state"] in {"STOPPING", "CANCELLED"}

    def test_nobody_to_ask(self, here: Callable[..., Ended], interrupted: list[int]) -> None:
        ended = here(*run("--yes", "--env", "PAUSE=1", lines=600))
        assert (ended.code, ended.out) == (130, "")
        (job,) = re.findall(r"guildhall: Interrupted; the job goes on: .*`guildhall cancel (Job_\w+)`\.", ended.err)
        assert here("cancel", job).out in {f"{job} is STOPPING.\n", f"{job} is CANCELLED.\n"}

    def test_its_result_is_fetched(self, here: Callable[..., Ended], mira: Command) -> None:
        register = ["maintenance/made-here" if part == "maintenance/runner-made" else part for part in REGISTER]
        assert here(*register).code == 0
        ended = here(*run("--yes", "--json", "--output", "maintenance/made-here", "--into", "result"))
        assert (ended.code, ended.json["state"], ended.json["folders"]) == (0, "SUCCEEDED", ["result"])
        assert (mira.folder / "result" / "weights.bin").read_bytes() == b"x" * 1000

    def test_detached(self, here: Callable[..., Ended]) -> None:
        ended = here(*run("--yes", "--detach", "--env", "PAUSE=1", lines=600))
        job = ended.out.strip()
        assert ended.err.endswith(f"Follow it with `guildhall logs -f {job}`.\n")
        assert here("cancel", job).code == 0
        job = here(*run("--yes", "--detach", "--json", "--env", "PAUSE=1", lines=600)).json["id"]
        page = here("jobs", "--limit", "1")
        assert (page.code, len(page.out.splitlines())) == (0, 2)
        assert page.err.startswith("There are more: --after ")
        after = here("jobs", "--after", page.err.split()[-1], "--limit", "1")
        assert after.out.splitlines()[1] != page.out.splitlines()[1]
        assert here("cancel", job).code == 0
        assert here("logs", "-f", job).code == 6
        told = here("logs", job, "--json").json
        assert (told["id"], told["state"]) == (job, "CANCELLED")
        shown = here("logs", job)
        assert (shown.code, shown.out.splitlines()) == (0, told["logTail"].splitlines())

    def test_quoted(self, here: Callable[..., Ended]) -> None:
        refused = here("quote", "--image", "example.org/train:1", *WALLTIME, "--", "true")
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.startswith("guildhall: No pool can run this job. ")
        assert "runs packages as processes, no images (job.source.image).\n" in refused.err
        shown = here("quote", "--folder", "code", *WALLTIME, "--", "true")
        assert (shown.code, "hold" in shown.out) == (0, True)
        told = here("quote", "--folder", "code", *WALLTIME, "--json", "--", "true").json
        assert (told["team"], told["programme"]) == ("maintenance", "zero-defects")


def asked() -> Asked:
    return Asked(
        command=("true",), team=None, programme=None, name=None, folder=Path("my job"), image=None, gpus=1,
        accelerator=None, cpu=None, memory=None, disk=None, nodes=1, tier="STANDARD", walltime=60, start_by=None,
        pools=(), environment=(), datasets=(), models=(), purpose=None, output=None, output_folder="output",
    )  # fmt: skip


class TestShow:
    def test_rates_that_change_pools_left_out_and_what_is_there_already(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        at = [f"2026-11-21T{hour}:00:00Z" for hour in ("20", "22", "23")]
        parts = [
            {"startsAt": at[0], "endsAt": at[1], "pool": {"name": "small"}, "creditsPerHour": "6", "credits": "12"},
            {"startsAt": at[1], "endsAt": at[2], "pool": {"name": "small"}, "creditsPerHour": "3", "credits": "3"},
        ]
        offer: dict[str, Any] = {
            "team": "vision", "programme": "gauges", "estimatedPrice": "15", "hold": "18", "predictedStart": None,
            "startBy": at[2], "predictedEnergyKwh": None, "eligiblePools": [{"name": "small"}], "expiresAt": at[0],
            "segments": parts,
            "excludedPools": [{"pool": {"name": "large"}, "reason": {"message": "It has no such accelerator."}}],
            "suggestions": [{"message": "vision/gauge reads gauges already."}],
        }  # fmt: skip
        _show(offer, asked())
        said = capsys.readouterr()
        assert "job          my-job: true\n" in said.out
        assert "starts       not known yet; void where it has not by 2026-11-21 23:00 UTC\n" in said.out
        assert "energy" not in said.out
        assert "2026-11-21 22:00 UTC  2026-11-21 23:00 UTC  small  3             3\n" in said.out
        assert said.err == (
            "Not on large: It has no such accelerator.\nBefore you spend: vision/gauge reads gauges already.\n"
        )


@pytest.mark.usefixtures("folder")
class TestQuote:
    def test_for_people_and_programs(self, mira: Command) -> None:
        arguments = ["quote", "--folder", "code", *WALLTIME, "--cpu", "1", "--memory", "1GiB", "--pool", "forge-small"]
        shown = mira.ok(*arguments, "--", "python", "train.py").out
        assert "for          maintenance, on zero-defects\n" in shown
        assert "pools        forge-small\n" in shown
        offer = mira.ok(*arguments, "--json", "--", "python", "train.py").json
        assert (offer["hold"], [pool["name"] for pool in offer["eligiblePools"]]) == ("1", ["forge-small"])
        late = mira("quote", "--folder", "code", "--start-by", "2099-01-01", "--", "x")
        assert (late.code, "at most 30 days ahead" in late.err) == (1, True)

    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            (["--", "x"], 2, "no terminal to ask"),
            ([], 2, "Missing argument '-- COMMAND...'"),
            (["--walltime", "soon", "--", "x"], 2, "'soon' is no duration; write it as 90s"),
            (["--memory", "much", "--", "x"], 2, "'much' is no size; write it as 512MiB or 4G"),
            (["--cpu", "nan", "--", "x"], 2, "'nan' is no number of cores; write it as 4 or 0.5"),
            (["--cpu", "1e999", "--", "x"], 2, "'1e999' is no number of cores"),
            (["--env", "A", "--", "x"], 2, "'A' is not NAME=VALUE"),
            (["--data", "d=a/b", "--", "x"], 2, "Say with --purpose what the data is used for"),
            (["--data", "d=a/b", "--purpose", "p", "--", "x"], 3, "no data set a/b"),
            (["--base", "d=b", "--purpose", "p", "--", "x"], 2, "'b' is not TEAM/NAME"),
            (["--base", "d=a/b", "--purpose", "p", "--", "x"], 3, "no model a/b"),
            (["--output", "maintenance/absent", "--", "x"], 3, "no model maintenance/absent"),
            (["--team", "nobody", "--", "x"], 3, "There is no team nobody"),
            (["--programme", "absent", "--", "x"], 3, "no programme named 'absent'"),
            (["--accelerator", "tpu-9000", "--", "x"], 3, "No pool has accelerators of kind tpu-9000"),
            (["--folder", "code/data/none", "--", "x"], 2, "does not exist"),
        ],
    )
    def test_refused(self, mira: Command, arguments: list[str], code: int, sentence: str) -> None:
        ended = mira("run", "--folder", "code", *arguments)
        assert (ended.code, ended.out) == (code, ""), ended.err
        assert sentence in ended.err

    def test_whose_job_it_is_must_be_clear(self, mira: Command) -> None:
        ended = mira("quote", "--folder", "code", "--", "x", GUILDHALL_TEAM="quality")
        assert ended.code in {1, 3, 4}
        empty = mira("quote", "--folder", "code", "--team", "platform", "--", "x")
        assert empty.code in {2, 3, 4}
