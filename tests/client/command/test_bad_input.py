"""Whatever goes wrong: one sentence on standard error, the documented exit code, no trace of Python."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import pytest

from guildhall_client.command.catalogue import ListedGroup
from guildhall_client.command.exits import WHEN_UNREACHABLE
from guildhall_client.command.main import root
from tests.client.command.conftest import PROGRAM, SECONDS_MAX, Command, Ended, Guild

NOWHERE = {"GUILDHALL_URL": "http://127.0.0.1:1", "GUILDHALL_TOKEN": "ghu_" + "x" * 38}
VALUES = {
    "WORDS": ["word"], "MODEL": ["a/b"], "DATASET": ["a/b"], "VERSION": ["a/b@1"], "NAME": ["alias"], "JOB": ["Job_1"],
    "TEAM": ["a"], "FOLDER": ["."], "REQUEST": ["AccessRequest_1"],
    "GRANT": ["AccessGrant_1"], "COMMAND": ["--", "true"],
    "SHELL": ["bash"], "NOTIFICATIONS": ["Notification_1"], "LOOSENING": ["Loosening_1"],
    "--reason": "r", "--summary": "s", "--outcome": "worked", "--description": "d",
    "--classification": "public",
    "--licence": "l", "--legal-basis": "b", "--purpose": "p", "--region": "r", "--steward": "s@example.org",
    "--justification": "j", "--for": "1d", "--file": "organisation.yaml",
}  # fmt: skip
MORE = {
    "access request": ["--dataset", "a/b", "--team", "t"],
    "lesson add": ["--job", "Job_1"],
    "loosening ask": ["--region", "r"],
    "audit who-read": ["a/b"],
    "inbox read": ["--all"],
    "login": ["http://127.0.0.1:1", "--token"],
}
LOCAL = {"logout", "completion", "login"}
"""What sends nothing, or is asked with other arguments below."""
UNKNOWN = {"quote": ["--team", "a"], "run": ["--team", "a"], "inbox read": ["Notification_1"]}
"""What names something that is not there where nothing else does."""
NAMELESS = {*LOCAL, "whoami", "inbox", "search", "jobs", "access list", "loosening list", "apply"}
"""What need not name anything: a list without rows is an answer."""


def commands(group: ListedGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, ListedGroup):
            yield from commands(found, (*path, name))
        else:
            yield " ".join((*path, name)), found


ALL = dict(commands(root))


def whole(path: str, more: Mapping[str, list[str]] = MORE) -> list[str]:
    """A call with all that the command needs."""
    arguments: list[str] = []
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Argument) and parameter.required:
            arguments += VALUES[(parameter.name or "").upper()]
        elif parameter.required:
            arguments += [parameter.opts[0], str(VALUES[parameter.opts[0]])]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return [*path.split(), *arguments[:at], *more.get(path, []), *arguments[at:]]


def sentence_of(ended: Ended) -> str:
    """The one sentence; notes before it are lines of their own."""
    assert "Traceback" not in ended.err
    assert ended.err.endswith("\n")
    last = ended.err.splitlines()[-1]
    assert last.startswith("guildhall: ")
    assert last.endswith((".", "?"))
    return last


ONE_AFTER_THE_OTHER = """
import contextlib, io, json, sys
from guildhall_client import steps
from guildhall_client.command.main import main
steps.BACKOFF_SECONDS_FIRST = 0.0
ended = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    ended.append([code, out.getvalue(), err.getvalue()])
json.dump(ended, sys.stdout)
"""


def all_of(command: Command, calls: list[list[str]], **environment: str) -> list[Ended]:
    """Many calls of `main` in one process, which spares the start of Python and the waits between tries."""
    ended = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER],
        cwd=command.folder,
        env={**command.environment, **environment},
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=True,
    )
    return [Ended(*each) for each in json.loads(ended.stdout)]


@pytest.fixture
def prepared(stranger: Command) -> Command:
    (stranger.folder / "organisation.yaml").write_text("teams: []\n")
    return stranger


def test_a_missing_argument(prepared: Command) -> None:
    needy = [path for path, command in ALL.items() if any(parameter.required for parameter in command.params)]
    assert len(needy) > 15
    for path, ended in zip(needy, all_of(prepared, [path.split() for path in needy]), strict=True):
        assert (ended.code, ended.out) == (2, ""), path
        assert sentence_of(ended).startswith("guildhall: Missing "), path
        assert f"`guildhall {path} --help` shows how." in ended.err


def test_an_unknown_name(mira: Command, prepared: Command) -> None:
    asked = [path for path in ALL if path not in NAMELESS]
    assert len(asked) > 15
    calls = [whole(path, {**MORE, **UNKNOWN}) for path in asked]
    for path, ended in zip(asked, all_of(mira, calls), strict=True):
        assert (ended.code, ended.out) == (3, ""), f"{path}: {ended.err}"
        assert sentence_of(ended), path


def test_no_network(prepared: Command) -> None:
    asked = [path for path in ALL if path not in LOCAL]
    for path, ended in zip(asked, all_of(prepared, [whole(path) for path in asked], **NOWHERE), strict=True):
        assert (ended.code, ended.out) == (5, ""), f"{path}: {ended.err}"
        assert "the server does not answer" in sentence_of(ended), path
        assert ended.err.endswith(f" {WHEN_UNREACHABLE}\n"), path


def test_not_signed_in(prepared: Command) -> None:
    asked = [path for path in ALL if path not in LOCAL]
    for path, ended in zip(asked, all_of(prepared, [whole(path) for path in asked]), strict=True):
        assert (ended.code, ended.out) == (4, ""), f"{path}: {ended.err}"
        assert sentence_of(ended).endswith("Sign in with `guildhall login`."), path


def test_an_ended_token(mira: Command, prepared: Command) -> None:
    asked = [path for path in ALL if path not in LOCAL]
    ended_token = {"GUILDHALL_TOKEN": NOWHERE["GUILDHALL_TOKEN"]}
    for path, ended in zip(asked, all_of(mira, [whole(path) for path in asked], **ended_token), strict=True):
        assert (ended.code, ended.out) == (4, ""), f"{path}: {ended.err}"
        assert sentence_of(ended).endswith("Sign in again with `guildhall login`."), path


def test_what_is_no_guildhall(stranger: Command, tmp_path: Path) -> None:
    ended = stranger("login", "http://127.0.0.1:1")
    assert (ended.code, "does not answer" in sentence_of(ended)) == (5, True)


class TestUsage:
    @pytest.mark.parametrize("command", ["quote", "run"])
    def test_no_accelerator_at_all(self, stranger: Command, command: str) -> None:
        ended = stranger(command, "--gpus", "0", "--", "true")
        assert (ended.code, ended.out) == (2, "")
        assert sentence_of(ended) == (
            "guildhall: Invalid value for '--gpus': 0 is not in the range x>=1. "
            f"`guildhall {command} --help` shows how."
        )

    @pytest.mark.parametrize("arguments", [["nonsense"], ["model", "nonsense"], ["jobs", "--nonsense"], ["jobs", "x"]])
    def test_unknown_words(self, stranger: Command, arguments: list[str]) -> None:
        ended = stranger(*arguments)
        assert (ended.code, ended.out) == (2, "")
        assert "shows how." in sentence_of(ended)

    def test_nothing_shows_the_help(self, stranger: Command) -> None:
        ended = stranger()
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("Usage: guildhall [OPTIONS] COMMAND")

    def test_help_of_everything(self, stranger: Command) -> None:
        for path, ended in zip(ALL, all_of(stranger, [[*path.split(), "-h"] for path in ALL]), strict=True):
            assert ended.code == 0
            assert ended.out.startswith(f"Usage: guildhall {path} ")
            assert "\b" not in ended.out


def run(command: Command, arguments: list[str], *, out: int = subprocess.PIPE, err: int = subprocess.PIPE) -> Ended:
    """A program beside the command, where it is, or the command with streams of the caller's."""
    ended = subprocess.run(
        arguments,
        cwd=command.folder,
        env=command.environment,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout or "", ended.stderr or "")


def shell(command: Command, line: str) -> Ended:
    return run(command, ["bash", "-o", "pipefail", "-c", line.replace("guildhall ", f"{PROGRAM} ")])


def ended_with(
    command: Command, line: str, *, out: int = subprocess.PIPE, err: int = subprocess.PIPE
) -> tuple[int, str]:
    """The exit code, and what was said on the other stream."""
    ended = run(command, [PROGRAM, *line.split()], out=out, err=err)
    return ended.code, ended.out + ended.err


class TestStreams:
    @pytest.fixture
    def closed_pipe(self) -> Iterator[int]:
        """The end for writing of one that nobody reads."""
        reader, writer = os.pipe()
        os.close(reader)
        yield writer
        os.close(writer)

    @pytest.mark.parametrize(
        "line",
        [
            "--help",
            "completion bash",
            "whoami --json",
            "inbox --json",
            "search word --json",
            "jobs --json",
            "wallet maintenance",
            "access list --json",
            "loosening list --json",
        ],
    )
    def test_a_pipe_that_closes(self, mira: Command, closed_pipe: int, line: str) -> None:
        assert ended_with(mira, line, out=closed_pipe) == (141, "")

    @pytest.mark.parametrize("line", ["logout", "search nothing-of-this"])
    def test_a_pipe_for_sentences_that_closes(self, mira: Command, closed_pipe: int, line: str) -> None:
        assert ended_with(mira, line, err=closed_pipe) == (141, "")

    @pytest.mark.parametrize("line", ["--help", "completion bash", "whoami --json", "wallet maintenance"])
    def test_a_full_device(self, mira: Command, line: str) -> None:
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            ended = ended_with(mira, line, out=full.fileno())
        assert ended == (1, "guildhall: No space is left to write to; make some, then run the same command again.\n")

    def test_a_full_disk_is_named_and_keeps_nothing(self, guild: Guild, stranger: Command) -> None:
        kept = Path(stranger.environment["XDG_CONFIG_HOME"]) / "guildhall" / "tokens.json"
        (stranger.folder / "token").write_text(guild.tokens["mira"])
        measured = "unset COVERAGE_PROCESS_START COVERAGE_PROCESS_CONFIG"  # it could not write what it measured
        ended = shell(stranger, f"{measured}; ulimit -f 0; guildhall login {guild.url} --token-stdin < token")
        assert ended == Ended(
            1, "", f"guildhall: {kept}: No space is left to write to; make some, then run the same command again.\n"
        )
        assert {path.name for path in kept.parent.iterdir()} <= {"renewing.lock"}

    def test_closed_streams(self, mira: Command) -> None:
        assert shell(mira, "guildhall wallet maintenance <&- >&- 2>&-") == Ended(0, "", "")

    def test_no_terminal_no_colour_nothing_cut_off(self, mira: Command) -> None:
        told = mira.ok("wallet", "maintenance", TERM="xterm", COLUMNS="20").out
        assert "\x1b" not in told
        assert re.search(r"\nPROGRAMME +UNTIL +ALLOCATED +CHARGED +HELD +REMAINING\n", told)

    @pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
    def test_colours_at_a_terminal(
        self, person: Callable[[str], Command], environment: dict[str, str], coloured: bool
    ) -> None:
        pat = person("pat")
        (pat.folder / "organisation.yaml").write_text("teams: [{name: new}]\n")
        with pat.terminal("apply", "-f", "organisation.yaml", "--plan", **environment) as terminal:
            assert terminal.end() == 7
        assert ("\x1b[32m+ Team new" in terminal.said) is coloured
        assert "+ Team new" in terminal.said


class TestUnforeseen:
    def test_is_a_sentence_too(self, stranger: Command) -> None:
        broken = Path(stranger.environment["XDG_CONFIG_HOME"]) / "guildhall"
        broken.mkdir(parents=True)
        (broken / "profiles.json").write_text('{"current": "default", "profiles": {"default": 5}}')
        ended = stranger("whoami")
        assert (ended.code, ended.out) == (1, "")
        assert sentence_of(ended).startswith("guildhall: This should not have happened (")
        assert "Traceback" in stranger("whoami", GUILDHALL_DEBUG="1").err

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_folder_that_may_not_be_read(self, stranger: Command) -> None:
        closed = Path(stranger.environment["XDG_CONFIG_HOME"]) / "guildhall"
        closed.mkdir(parents=True, mode=0)
        assert "Permission denied" in sentence_of(stranger("whoami"))
