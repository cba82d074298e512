"""Write the reference of the command `guildhall` into `client/README.md`, or say that it is not what the code says.

It stands between two marks, below what people write by hand.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from guildhall_client.command.exits import MEANINGS
from guildhall_client.command.main import root

FILE = Path("client/README.md")
ACTIONS = ("write", "check")
BEGINS = "<!-- What follows is written by `make command-reference`. -->\n"


def main() -> None:
    """Do what the one argument says, `write` or `check`; a difference exits 1."""
    if sys.argv[1:] not in [[action] for action in ACTIONS]:
        sys.exit(f"one of {', '.join(ACTIONS)}, please")
    present = FILE.read_text(encoding="utf-8")
    by_hand, mark, _ = present.partition(BEGINS)
    if not mark:
        sys.exit(f"{FILE} has lost the mark {BEGINS.strip()}")
    wanted = f"{by_hand}{BEGINS}{reference()}"
    if sys.argv[1] == "write":
        FILE.write_text(wanted, encoding="utf-8")
        print(f"{FILE} written")
    elif present != wanted:
        sys.exit(f"{FILE} is not what the command says; run `make command-reference` and review the change")
    else:
        print(f"{FILE} is what the command says")


def reference() -> str:
    """Exit codes, and each command with its options, in the order of `--help`."""
    codes = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items())
    context = click.Context(root, info_name="guildhall")
    commands = "".join(_described(command, below) for command, below in _walk(root, context))
    return f"\n## Exit codes\n\n| code | means |\n| --- | --- |\n{codes}\n## Commands\n{commands}"


def _walk(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        below = click.Context(command, info_name=name, parent=context)
        group_alone = isinstance(command, click.Group) and not command.invoke_without_command
        if not group_alone:
            yield command, below
        if isinstance(command, click.Group):
            yield from _walk(command, below)


def _described(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    told = [each.get_help_record(context) for each in command.params if isinstance(each, click.Option)]
    options = [record for record in told if record is not None]
    rows = "".join(f"| `{_cell(names)}` | {_cell(text)} |\n" for names, text in options)
    table = f"\n| option | |\n| --- | --- |\n{rows}" if rows else ""
    return f"\n### {context.command_path}\n\n`{usage}`\n\n{_prose(command.help or '')}\n{table}"


def _prose(text: str) -> str:
    """Paragraphs as Markdown; what click is told not to wrap is an example, and becomes a block of code."""
    paragraphs = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b\n"):
            block = inspect.cleandoc(paragraph.removeprefix("\b\n"))
            paragraphs.append(f"```sh\n{block}\n```")
        else:
            paragraphs.append(" ".join(paragraph.split()))
    return "\n\n".join(paragraphs)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


if __name__ == "__main__":
    main()
