"""The installed command as people run it: a process of its own, against a real server with the demo's organisation."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from demo.contract import document
from demo.organisation import PEOPLE, configuration
from demo.server import bootstrap_token, running_server
from guildhall.clock import SystemClock
from guildhall_client.client import Client
from guildhall_client.command.main import main

PROGRAM = str(Path(sys.executable).parent / "guildhall")
SECONDS_MAX = 120
TRIES_MAX = 6
"""How often Ctrl-C is given: the tracer of a measured process loses some. At each call it looks for the greenlet in a
`WeakKeyDictionary`, which is Python code, and clears whatever is raised there; KeyboardInterrupt, too.
"""
ISSUE_TOKEN = """
mutation IssueToken($input: IssueTokenInput!) { issueToken(input: $input) { secret errors { code field message } } }
"""


@dataclass(frozen=True)
class Guild:
    """A server, and a token for each person of the demo's organisation."""

    url: str
    tokens: dict[str, str]

    def another_token(self, person: str) -> str:
        """One more of theirs, for a test that ends it."""
        with Client(self.url, self.tokens[person]) as client:
            secret: str = client.mutate(ISSUE_TOKEN, {"label": "tests", "durationSeconds": 3_600})["secret"]
        return secret


@dataclass(frozen=True)
class Ended:
    """What a process said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Command:
    """Runs the command as one person, with folders of configuration and state of the test's own."""

    environment: dict[str, str] = field(repr=False)
    folder: Path

    def __call__(self, *arguments: str, stdin: str | None = None, **environment: str) -> Ended:
        ended = subprocess.run(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            input="" if stdin is None else stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def ok(self, *arguments: str, **more: Any) -> Ended:
        ended = self(*arguments, **more)
        assert ended.code == 0, ended.err
        return ended

    def terminal(self, *arguments: str, **environment: str) -> "Terminal":
        return Terminal([PROGRAM, *arguments], self.folder, {**self.environment, "TERM": "xterm", **environment})


@dataclass
class Terminal:
    """The command at a terminal, whose keys the test presses."""

    arguments: Sequence[str]
    folder: Path
    environment: dict[str, str]
    said: str = field(default="", init=False)

    def __enter__(self) -> Self:
        self._keys, screen = pty.openpty()
        # A session of its own, with the screen as its terminal, so that Ctrl-C is a signal to it alone.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ON_A_TERMINAL, *self.arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
        )
        os.close(screen)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._keys)

    def press(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def until(self, text: str) -> None:
        """Wait until the text stands on the screen."""
        ends_at = time.monotonic() + SECONDS_MAX
        while text not in self.said:
            assert time.monotonic() < ends_at, self.said
            if not self._read():
                pytest.fail(f"{text!r} never came: {self.said}")

    def end(self) -> int:
        """Read to the end, and return the exit code."""
        ends_at = time.monotonic() + SECONDS_MAX
        while self._read():
            assert time.monotonic() < ends_at, self.said
        return self._process.wait(timeout=SECONDS_MAX)

    def insist_until(self, keys: str, text: str) -> None:
        """Press them until the text stands on the screen; why once is not enough, see `TRIES_MAX`."""
        if not self._insist(keys, lambda: text in self.said):
            pytest.fail(f"{text!r} never came: {self.said}")

    def insist(self, keys: str) -> int:
        """Press them until it ends: readline may also miss a signal that comes just before it waits."""
        self._insist(keys, lambda: False)
        return self._process.wait(timeout=SECONDS_MAX)

    def _insist(self, keys: str, heard: Callable[[], bool]) -> bool:
        """Press them, and again after a while as a person would. True: it was heard; False: the command has ended."""
        for _ in range(TRIES_MAX):
            self.press(keys)
            again_at = time.monotonic() + SECONDS_MAX / TRIES_MAX
            while time.monotonic() < again_at:
                if heard():
                    return True
                if not self._read():
                    return False
        pytest.fail(f"{keys!r} led to nothing: {self.said}")

    def _read(self) -> bool:
        if not select.select([self._keys], [], [], 1.0)[0]:
            return True
        try:
            data = os.read(self._keys, 65_536)
        except OSError:  # the other side is closed
            return False
        self.said += data.decode(errors="replace")
        return bool(data)


# Tests that a shell runs in the background ignore SIGINT, and so would what they start.
HEARING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
_ON_A_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {HEARING}"


def interrupt(process: subprocess.Popen[str]) -> str:
    """SIGINT until it ends; what it said on standard error."""
    for _ in range(TRIES_MAX):
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=SECONDS_MAX / TRIES_MAX)
        except subprocess.TimeoutExpired:
            continue
        return err
    process.kill()
    process.communicate()
    pytest.fail("SIGINT led to nothing")


@pytest.fixture(scope="session")
def guild(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guild]:
    folder = tmp_path_factory.mktemp("guild")
    data_dir = folder / "data"
    data_dir.mkdir()
    administrator = bootstrap_token(data_dir)
    with running_server(data_dir, folder / "server.log") as url:
        now = SystemClock().now()
        with Client(url, administrator) as client:
            client.mutate(document("ApplyConfiguration"), configuration(now))
            tokens = {
                person: client.mutate(
                    ISSUE_TOKEN, {"label": "tests", "durationSeconds": 86_400, "email": about["email"]}
                )["secret"]
                for person, about in PEOPLE.items()
            }
        with Client(url, tokens["alma"]) as client:
            for team in ("maintenance", "quality"):
                inputs = {
                    "team": team,
                    "programme": "zero-defects",
                    "credits": "100",
                    "validFrom": (now - timedelta(days=1)).isoformat(),
                    "validTo": (now + timedelta(days=90)).isoformat(),
                    "reason": "for the tests",
                }
                client.mutate(document("AllocateCredits"), inputs)
        yield Guild(url, tokens)


@pytest.fixture
def stranger(tmp_path: Path) -> Command:
    """Somebody who has never signed in anywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GUILDHALL_", "XDG_"))}
    folder = tmp_path / "work"
    folder.mkdir()
    places = {f"XDG_{kind}_HOME": str(tmp_path / kind.lower()) for kind in ("CONFIG", "STATE", "CACHE", "DATA")}
    return Command({**kept, **places, "HOME": str(tmp_path), "COLUMNS": "200"}, folder)


@pytest.fixture
def person(guild: Guild, stranger: Command) -> Callable[[str], Command]:
    """The command as somebody of the organisation, by the environment."""

    def named(name: str) -> Command:
        signed_in = {"GUILDHALL_URL": guild.url, "GUILDHALL_TOKEN": guild.tokens[name]}
        return Command({**stranger.environment, **signed_in}, stranger.folder)

    return named


@pytest.fixture
def here(mira: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """The command as mira in this very process, where a test can take a way that no signal hits surely."""
    monkeypatch.chdir(mira.folder)
    for name, value in mira.environment.items():
        monkeypatch.setenv(name, value)

    def called(*arguments: str) -> Ended:
        code = main(arguments)
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return called


@pytest.fixture
def mira(person: Callable[[str], Command]) -> Command:
    """A maintainer of the team maintenance."""
    return person("mira")
