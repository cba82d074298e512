"""What the init container of a pod does, in an interpreter of its own, and once as a pod runs it: as bare source."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scheduler.clusters.runner_archive import bringing_source, runner_archive
from tests.scheduler.runner.conftest import ROOT, TOKEN, Answer, FakeApi
from tests.scheduler.runner.test_runner import fail_times

ROUTE = ("GET", "/runner/v1/archive")


@dataclass
class Bringing:
    folder: Path
    url: str

    @property
    def target(self) -> Path:
        return self.folder / "runner.pyz"

    def run(self, *program: str) -> tuple[int, str]:
        token = self.folder / "token"
        token.write_text(TOKEN)
        environment = {
            "GUILDHALL_API_URL": self.url,
            "GUILDHALL_TOKEN_FILE": str(token),
            "GUILDHALL_RUNNER": str(self.target),
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE")},
        }
        command = [sys.executable, *(program or ("-m", "scheduler.runner.bringing"))]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stderr


@pytest.fixture
def bringing(tmp_path: Path, api: FakeApi) -> Bringing:
    return Bringing(tmp_path, api.url)


def test_brings_the_runner(bringing: Bringing) -> None:
    assert bringing.run("-c", bringing_source()) == (0, "")
    assert bringing.target.read_bytes() == runner_archive()


def test_tries_again(api: FakeApi, bringing: Bringing) -> None:
    api.faults.append(fail_times(2, *ROUTE, Answer(503, b"")))
    assert bringing.run() == (0, "")
    assert api.requests == [ROUTE] * 3


def test_a_refusal_is_final_and_told_in_one_line(api: FakeApi, bringing: Bringing) -> None:
    api.faults.append(fail_times(9, *ROUTE, Answer(401, b"")))
    code, said = bringing.run()
    assert (code, api.requests, list(bringing.folder.glob("runner*"))) == (1, [ROUTE], [])
    assert said == f"the runner could not be fetched from {api.url}/runner/v1/archive: HTTP Error 401: Unauthorized\n"


def test_gives_up_after_a_while(api: FakeApi, bringing: Bringing) -> None:
    api.faults.append(fail_times(10_000, *ROUTE, Answer(503, b"")))
    impatient = "from scheduler.runner import bringing; bringing.SECONDS_MAX = 1.0; raise SystemExit(bringing.main())"
    code, said = bringing.run("-c", impatient)
    assert (code, said.count("\n"), len(api.requests) > 1) == (1, 1, True)


def test_ends_at_once_when_it_is_asked_to(api: FakeApi, bringing: Bringing) -> None:
    api.faults.append(fail_times(10_000, *ROUTE, Answer(503, b"")))
    # Asked by itself as it waits, so that the test need not know when.
    program = (
        "import os, signal; from scheduler.runner import bringing; "
        "bringing.time.sleep = lambda _: os.kill(os.getpid(), signal.SIGTERM); raise SystemExit(bringing.main())"
    )
    assert bringing.run("-c", program) == (128 + signal.SIGTERM, "")
    assert api.requests == [ROUTE]


def test_what_has_been_brought_is_not_brought_again(api: FakeApi, bringing: Bringing) -> None:
    bringing.target.write_bytes(b"there")
    assert bringing.run() == (0, "")
    assert api.requests == []
