"""The zipapp against an API that answers, refuses, breaks off and stays away."""

import io
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable

import pytest

from tests.scheduler.runner.conftest import Answer, FakeApi, Runner

WRITES_OUTPUT = """
import json, os, pathlib
out = pathlib.Path(os.environ["GUILDHALL_OUTPUT"])
(out / "model.bin").write_bytes(bytes(range(200)))
(out / "sub").mkdir()
(out / "sub" / "empty").write_bytes(b"")
with open(os.environ["GUILDHALL_METRICS_FILE"], "a") as file:
    file.write(json.dumps({"name": "accuracy", "value": 0.5, "split": "heldout", "step": 3}) + "\\n")
    file.write("not json\\n")
pathlib.Path(os.environ["GUILDHALL_PARAMETERS_FILE"]).write_text('{"C": 1.5}')
pathlib.Path(os.environ["GUILDHALL_CARD_FILE"]).write_text("# Intended use\\nreading gauges\\n")
print("metric loss=0.25")
print(pathlib.Path("data/rows.csv").read_text(), os.environ["FROM_JOB"])
"""


def fail_times(times: int, method: str, path: str, answer: Answer) -> Callable[[str, str], Answer | None]:
    left = [times]

    def fault(asked_method: str, asked_path: str) -> Answer | None:
        if (asked_method, asked_path) != (method, path) or left[0] == 0:
            return None
        left[0] -= 1
        return answer

    return fault


class TestSuccess:
    def test_stages_runs_reports_and_registers(self, api: FakeApi, runner: Runner) -> None:
        api.output = {"path": "result"}
        api.add_input("/data", {"rows.csv": b"1,2,3"})
        assert runner.script(WRITES_OUTPUT) == 0
        assert api.result == {"outcome": "SUCCEEDED", "exitCode": 0, "signal": None, "code": "", "message": ""}
        assert api.uploaded() == {"model.bin": bytes(range(200)), "sub/empty": b""}
        assert sorted(api.parts["model.bin"]) == [1, 2, 3, 4]
        assert api.announced["parameters"] == {"C": 1.5}
        assert api.announced["card"] == {"Intended use": "reading gauges"}
        assert api.metrics() == [("loss", 0.25), ("accuracy", 0.5)] or api.metrics() == [
            ("accuracy", 0.5),
            ("loss", 0.25),
        ]
        assert api.logs("stdout") == ["metric loss=0.25", "1,2,3 yes"]
        assert api.started is not None
        assert "scikit-learn" in api.started["environment"]["packages"]
        assert len(api.started["environment"]["digest"]) == 64

    def test_the_zipapp_needs_nothing_else(self, api: FakeApi, runner: Runner) -> None:
        api.add_package({"train.py": "print('trained')"})
        api.command = ["python", "train.py"]
        assert runner.start(packed=True).wait(timeout=60) == 0
        assert api.logs("stdout") == ["trained"]

    def test_many_lines_arrive_in_order(self, api: FakeApi, runner: Runner) -> None:
        assert runner.script("for n in range(3000): print(n)") == 0
        assert api.logs("stdout") == [str(n) for n in range(3000)]

    def test_the_script_does_not_see_where_the_token_lies(self, api: FakeApi, runner: Runner) -> None:
        assert runner.script("import os; print(sorted(n for n in os.environ if 'TOKEN' in n))") == 0
        assert api.logs("stdout") == ["[]"]


class TestFailure:
    @pytest.mark.parametrize(
        ("script", "want_exit", "want_code", "want_message"),
        [
            ("raise SystemExit(3)", 3, "EXIT_CODE", "the command ended with exit code 3"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "KILLED_BY_SIGNAL", "SIGKILL"),
            ("pass", 70, "OUTPUT_MISSING", "its output folder result is empty"),
            ("import os; os.symlink('/etc/passwd', 'result/x')", 70, "OUTPUT_INVALID", "a link cannot be registered"),
            ("import shutil; shutil.rmtree('result')", 70, "OUTPUT_MISSING", "left no output folder result"),
        ],
    )
    def test_script(
        self, api: FakeApi, runner: Runner, script: str, want_exit: int, want_code: str, want_message: str
    ) -> None:
        api.output = {"path": "result"}
        assert runner.script(script) == want_exit
        assert api.result is not None
        assert (api.result["outcome"], api.result["code"]) == ("FAILED", want_code)
        assert want_message in api.result["message"]
        assert api.parts == {}

    def test_command_that_does_not_exist(self, api: FakeApi, runner: Runner) -> None:
        api.command = ["no-such-program"]
        assert runner.run() == 70
        assert api.result is not None
        assert api.result["code"] == "COMMAND_NOT_FOUND"
        assert "'no-such-program' does not exist" in api.result["message"]

    def test_refused_input_carries_the_sentence(self, api: FakeApi, runner: Runner) -> None:
        api.add_input("data", {"rows.csv": b"1"})
        api.refuse_open = {"code": "ACCESS_GRANT_REQUIRED", "message": "ask the stewards with requestAccess"}
        assert runner.run() == 70
        assert api.result is not None
        assert (api.result["code"], api.result["message"]) == (
            "ACCESS_GRANT_REQUIRED",
            "ask the stewards with requestAccess",
        )

    def test_wrong_bytes_are_not_left_in_the_workspace(self, api: FakeApi, runner: Runner) -> None:
        api.add_input("data", {"rows.csv": b"right"})
        api.blobs = dict.fromkeys(api.blobs, b"wrong")
        assert runner.run() == 70
        assert api.result is not None
        assert api.result["code"] == "DIGEST_MISMATCH"
        assert list((runner.workspace / "data").iterdir()) == []

    @pytest.mark.parametrize("name", ["../escape", "/tmp/escape"])  # noqa: S108
    def test_package_that_reaches_outside(self, api: FakeApi, runner: Runner, name: str) -> None:
        api.add_package({"ok.py": "", name: "bad"})
        assert runner.run() == 70
        assert api.result is not None
        assert api.result["code"] == "PACKAGE_INVALID"
        assert not (runner.workspace / "ok.py").exists()

    def test_package_with_a_link(self, api: FakeApi, runner: Runner) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            member = tarfile.TarInfo("link")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(member)
        blob = api.add_blob(buffer.getvalue())
        api.package = {"artifactUrl": blob["url"], "sha256": blob["sha256"], "sizeBytes": blob["sizeBytes"]}
        assert runner.run() == 70
        assert api.result is not None
        assert api.result["message"] == "link: only folders and plain files may be in a package"


class TestApiTrouble:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/runner/v1/assignment"),
            ("POST", "/runner/v1/inputs/0/open"),
            ("POST", "/runner/v1/started"),
            ("POST", "/runner/v1/reports"),
            ("POST", "/runner/v1/outputs"),
            ("PUT", "/upload/model.bin"),
            ("POST", "/runner/v1/outputs/complete"),
            ("POST", "/runner/v1/result"),
        ],
    )
    def test_unavailable_twice_at(self, api: FakeApi, runner: Runner, method: str, path: str) -> None:
        api.output = {"path": "result"}
        api.add_input("data", {"rows.csv": b"1,2,3"})
        api.faults.append(fail_times(2, method, path, Answer(503, b"")))
        assert runner.script(WRITES_OUTPUT) == 0
        assert api.result is not None
        assert api.result["outcome"] == "SUCCEEDED"
        assert api.uploaded()["model.bin"] == bytes(range(200))
        assert api.logs("stdout") == ["metric loss=0.25", "1,2,3 yes"]

    def test_download_that_breaks_off_goes_on_where_it_broke(self, api: FakeApi, runner: Runner) -> None:
        data = bytes(range(256)) * 4096
        api.add_input("data", {"big": data})
        url = api.opened[0][0]["url"]
        api.faults.append(fail_times(1, "GET", url, Answer(200, data, cut_after=300_000)))
        assert runner.run() == 0
        assert (runner.workspace / "data" / "big").read_bytes() == data
        assert api.requests.count(("GET", url)) == 2

    def test_gives_up_when_the_hold_has_ended(self, api: FakeApi, runner: Runner) -> None:
        api.hold_seconds = 1.5
        api.faults.append(fail_times(10_000, "POST", "/runner/v1/reports", Answer(503, b"")))
        assert runner.script("import time; time.sleep(600)") == 70
        assert api.result is None

    def test_upload_resumes_with_the_parts_that_are_missing(self, api: FakeApi, runner: Runner) -> None:
        api.output = {"path": "result"}
        api.add_input("data", {"rows.csv": b""})
        api.parts["model.bin"] = {1: bytes(range(64)), 3: bytes(range(128, 192))}
        assert runner.script(WRITES_OUTPUT) == 0
        assert api.uploaded()["model.bin"] == bytes(range(200))
        assert api.requests.count(("PUT", "/upload/model.bin")) == 2


def start_until_up(api: FakeApi, runner: Runner, script: str) -> subprocess.Popen[bytes]:
    api.add_package({"train.py": script})
    api.command = ["python", "train.py"]
    process = runner.start()
    while "up" not in api.logs("stdout"):
        assert process.poll() is None
        time.sleep(0.01)
    return process


CHECKPOINT = """
import os, pathlib, signal, time
open(os.environ['GUILDHALL_CHECKPOINT_FILE'], 'w').close()
def last(*_):
    out = pathlib.Path(os.environ['GUILDHALL_OUTPUT'])
    (out / 'model.bin').write_bytes(b'step 7')
    raise SystemExit(0)
signal.signal(signal.SIGTERM, last)
print('up', flush=True)
time.sleep(600)
"""


def told_to_stop(api: FakeApi, runner: Runner, script: str) -> None:
    api.output = {"path": "result"}
    process = start_until_up(api, runner, script)
    api.stop_reason = "access to the data was withdrawn"
    process.wait(timeout=120)


class TestSeveralNodes:
    def test_all_report_and_the_first_speaks_for_the_job(self, api: FakeApi, runner: Runner) -> None:
        api.output = {"path": "result"}
        api.add_package({"train.py": "import os; print('node', os.environ['GUILDHALL_NODE_INDEX'])"})
        api.command = ["python", "train.py"]
        second = {"GUILDHALL_NODE_INDEX": "1", "GUILDHALL_NODES": "2"}
        assert runner.start(environment=second).wait(timeout=60) == 0
        assert (api.logs("stdout"), api.started, api.result, api.announced) == (["node 1"], None, None, {})
        assert {number % 2 for number in api.reports} == {0}
        first = {**second, "GUILDHALL_NODE_INDEX": "0"}
        assert runner.start(environment=first).wait(timeout=60) == 70
        assert api.result is not None
        assert api.result["code"] == "OUTPUT_MISSING"
        assert {number % 2 for number in api.reports} == {0, 1}


class TestStop:
    def test_the_api_says_stop(self, api: FakeApi, runner: Runner) -> None:
        process = start_until_up(
            api,
            runner,
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print('up', flush=True); time.sleep(600)",
        )
        api.stop_reason = "cancelled by ada@example.org"
        assert process.wait(timeout=60) == 137
        assert api.result is not None
        assert (api.result["code"], api.result["message"]) == ("STOPPED", "cancelled by ada@example.org")

    def test_the_platform_says_stop(self, api: FakeApi, runner: Runner) -> None:
        process = start_until_up(api, runner, "import time; print('up', flush=True); time.sleep(600)")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
        assert api.result is not None
        assert api.result["code"] == "STOPPED"

    def test_the_platform_says_stop_before_the_api_was_reached(self, api: FakeApi, runner: Runner) -> None:
        api.faults.append(fail_times(10_000, "GET", "/runner/v1/assignment", Answer(503, b"")))
        process = runner.start()
        while not api.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143

    def test_a_last_checkpoint_is_kept(self, api: FakeApi, runner: Runner) -> None:
        told_to_stop(api, runner, CHECKPOINT)
        assert api.result is not None
        assert (api.result["outcome"], api.result["code"], api.result["exitCode"]) == ("FAILED", "STOPPED", 0)
        assert api.result["message"] == "access to the data was withdrawn"
        assert api.uploaded() == {"model.bin": b"step 7"}
        assert api.announced["parameters"] == {}

    @pytest.mark.parametrize(
        ("changed", "want_exit"),
        [
            (("open(os.environ['GUILDHALL_CHECKPOINT_FILE'], 'w').close()", "pass"), 0),
            (("raise SystemExit(0)", "raise SystemExit(3)"), 3),
            (("raise SystemExit(0)", "time.sleep(600)"), -9),
        ],
        ids=["of a script that takes none", "that failed", "that took too long"],
    )
    def test_no_checkpoint(self, api: FakeApi, runner: Runner, changed: tuple[str, str], want_exit: int) -> None:
        told_to_stop(api, runner, CHECKPOINT.replace(*changed))
        assert api.result is not None
        assert (api.result["code"], api.result["exitCode"]) == ("STOPPED", want_exit)
        assert api.announced == {}

    def test_a_checkpoint_that_cannot_be_registered(self, api: FakeApi, runner: Runner) -> None:
        told_to_stop(api, runner, CHECKPOINT.replace("(out / 'model.bin').write_bytes(b'step 7')", "pass"))
        assert api.result is not None
        assert (api.result["code"], api.result["exitCode"], api.announced) == ("STOPPED", 0, {})
        assert api.logs("runner")[-1] == (
            "the last checkpoint is not kept: the command ended well but its output folder result is empty"
        )

    def test_children_of_the_command_die_with_it(self, api: FakeApi, runner: Runner) -> None:
        script = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
        assert runner.script(script) == 0
        pid = int(api.logs("stdout")[0])
        with pytest.raises(ProcessLookupError):
            _alive(pid)


def _alive(pid: int) -> None:
    """Raise ProcessLookupError where no such process runs; a zombie runs no more."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            state = file.read().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    if state == "Z":
        raise ProcessLookupError(pid)
