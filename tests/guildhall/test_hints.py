"""The table of hints: of codes that there are, short, and with commands that there are."""

import re
import shlex

import click

from guildhall.hints import HINTS, hint_of
from guildhall_client.command.main import root
from tools.reference_pages import refusals


def problem_of(words: list[str]) -> str | None:
    """What the command does not know of these words after `guildhall`; words in capitals stand for any name."""
    command: click.Command = root
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return f"there is no command {words[0]}"
        command, words = found, words[1:]
    if isinstance(command, click.Group) and not command.invoke_without_command:
        return "a group is no command"
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    names = [word.partition("=")[0] for word in words if word.startswith("-")]
    places = [word for word in words if word.isupper()]
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    if unknown := set(names) - known:
        return f"it has no option {', '.join(sorted(unknown))}"
    if len(names) + len(places) != len(words):
        return f"neither an option nor a place for a name: {' '.join(words)}"
    if len(places) > len(arguments) and not names:
        return f"it takes {len(arguments)} arguments"
    return None


class TestHints:
    def test_each_is_of_a_code_that_there_is(self) -> None:
        assert set(HINTS) - {each.code for each in refusals()} == set()

    def test_each_is_a_sentence(self) -> None:
        assert [text for text in HINTS.values() if not text.endswith(".") or len(text) > 200] == []

    def test_each_command_is_one_that_there_is(self) -> None:
        named = {(code, words) for code, text in HINTS.items() for words in re.findall(r"`guildhall ([^`]*)`", text)}
        assert len(named) > 5
        wrong = {(code, words, why) for code, words in named if (why := problem_of(shlex.split(words))) is not None}
        assert wrong == set()

    def test_of_a_code_without_one(self) -> None:
        assert hint_of("NAME_TAKEN") is None


class TestProblemOf:
    def test_what_would_be_wrong(self) -> None:
        said = [
            problem_of(shlex.split(words))
            for words in ("nonsense", "access", "access nonsense", "jobs --nonsense", "wallet a", "wallet TEAM TEAM")
        ]
        assert said == [
            "there is no command nonsense",
            "a group is no command",
            "there is no command nonsense",
            "it has no option --nonsense",
            "neither an option nor a place for a name: a",
            "it takes 1 arguments",
        ]
