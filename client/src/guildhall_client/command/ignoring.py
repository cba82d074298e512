"""What of a folder is not packed: `.guildhallignore` in it, or where there is none `.gitignore`, in git's own rules."""

from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from guildhall_client.command.exits import CommandFailed
from guildhall_client.packing import Ignore, nothing

NAMES = (".guildhallignore", ".gitignore")
"""The first that is there counts, in the folder that is packed; files of these names further down do not."""


@dataclass(frozen=True)
class IgnoreRules:
    """What is left out, and a half sentence about it."""

    is_ignored: Ignore
    told: str


def ignore_rules(folder: Path) -> IgnoreRules:
    """The rules of a folder; raises `CommandFailed` for those that cannot be read."""
    for name in NAMES:
        path = folder / name
        if path.is_file():
            try:
                spec = GitIgnoreSpec.from_lines(path.read_text(encoding="utf-8").splitlines())
            except ValueError as error:
                raise CommandFailed(f"{path} cannot be read: {error}.") from error
            return IgnoreRules(spec.match_file, f", without what {name} names")
    return IgnoreRules(nothing, "")
