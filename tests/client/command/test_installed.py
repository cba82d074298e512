"""The distribution as a stranger installs it, what it imports at its start, completion, and the reference."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from guildhall_client.command.catalogue import COMMANDS, GROUPS
from guildhall_client.command.main import root
from tests.client.command.conftest import PROGRAM, SECONDS_MAX, Command
from tools import command_reference, get_uv

ROOT = Path(__file__).resolve().parents[3]


def test_the_wheel_in_an_environment_of_its_own(tmp_path: Path) -> None:
    uv = subprocess.run(
        [sys.executable, get_uv.__file__], capture_output=True, text=True, check=True, timeout=SECONDS_MAX
    ).stdout.strip()

    def ask(*arguments: str) -> str:
        ended = subprocess.run(
            [uv, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    ask("build", "--quiet", "--wheel", "--out-dir", "dist", str(ROOT / "client"))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    ask("venv", "--quiet", "--python", sys.executable, "venv")
    ask("pip", "install", "--quiet", "--python", "venv/bin/python", str(wheel))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "COV_"))}
    said = subprocess.run(
        ["venv/bin/guildhall", "--version"],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "guildhall 0.1.0\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["model"], ["nonsense"]])
def test_the_start_imports_neither_http_nor_tables(stranger: Command, arguments: list[str]) -> None:
    code = (
        "import sys; from guildhall_client.command.main import main; main(sys.argv[1:]);"
        "print('imported:', *sorted({'httpx', 'rich', 'yaml', 'platformdirs'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=stranger.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=True,
    )
    assert ended.stdout.splitlines()[-1] == "imported:"


class TestCatalogue:
    def test_what_is_listed_is_there_and_says_the_same(self) -> None:
        listed = {
            **COMMANDS,
            **{f"{group} {name}": each for group, names in GROUPS.items() for name, each in names.items()},
        }
        for path, each in listed.items():
            command = root
            for name in path.split():
                found = command.get_command(None, name)  # type: ignore[arg-type]
                assert found is not None, path
                command = found  # type: ignore[assignment]
            assert command.name == path.split()[-1], path
            assert command.help, each.where


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "offered"),
        [
            ("guildhall log", ["login", "logout", "logs"]),
            ("guildhall model d", ["download"]),
            ("guildhall jobs --s", ["--state", "--since"]),
            ("guildhall jobs --state can", ["cancelled"]),
        ],
    )
    def test_in_bash(self, stranger: Command, words: str, offered: list[str]) -> None:
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        told = stranger.ok(_GUILDHALL_COMPLETE="bash_complete", **asked).out
        assert [line.partition(",")[2] for line in told.splitlines()] == offered

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_the_script_names_the_program(self, stranger: Command, shell: str) -> None:
        assert "_GUILDHALL_COMPLETE" in stranger.ok("completion", shell).out

    def test_bash_reads_it(self, stranger: Command) -> None:
        line = f'eval "$({PROGRAM} completion bash)" && complete -p guildhall'
        ended = subprocess.run(
            ["bash", "-c", line],
            env=stranger.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert (ended.returncode, "_guildhall_completion" in ended.stdout) == (0, True)


class TestReference:
    def test_is_what_the_command_says(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", ["command_reference", "check"])
        command_reference.main()
        assert capsys.readouterr().out == "client/README.md is what the command says\n"

    def test_a_difference_is_written_or_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "README.md"
        monkeypatch.setattr(command_reference, "FILE", file)
        file.write_text(f"by hand\n{command_reference.BEGINS}old")
        monkeypatch.setattr(sys, "argv", ["command_reference", "check"])
        with pytest.raises(SystemExit, match="run `make command-reference`"):
            command_reference.main()
        monkeypatch.setattr(sys, "argv", ["command_reference", "write"])
        command_reference.main()
        assert file.read_text().startswith(f"by hand\n{command_reference.BEGINS}\n## Exit codes\n")
        file.write_text("no mark")
        with pytest.raises(SystemExit, match="has lost the mark"):
            command_reference.main()
        monkeypatch.setattr(sys, "argv", ["command_reference"])
        with pytest.raises(SystemExit, match="one of write, check, please"):
            command_reference.main()
