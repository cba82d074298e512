"""Write `guildhall/schema.graphql` from the code, or say how the two differ (STYLE 47).

The file is committed so that a change to the schema is read in review as a change to the contract with clients.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from guildhall.schema.root import composed_schema

FILE = Path("guildhall/schema.graphql")
ACTIONS = ("write", "check")


def main() -> None:
    """Do what the one argument says, `write` or `check`; a difference exits 1."""
    if sys.argv[1:] not in [[action] for action in ACTIONS]:
        sys.exit(f"one of {', '.join(ACTIONS)}, please")
    wanted = composed_schema().text.rstrip("\n") + "\n"
    if sys.argv[1] == "write":
        FILE.write_text(wanted, encoding="utf-8")
        print(f"{FILE} written, {len(wanted.splitlines())} lines")
        return
    difference = difference_between(FILE.read_text(encoding="utf-8") if FILE.exists() else "", wanted)
    if difference:
        sys.exit(f"{difference}\n{FILE} is not what the code says; run `make schema` and review the change")
    print(f"{FILE} is what the code says")


def difference_between(committed: str, wanted: str) -> str:
    """Give a unified diff from the committed schema to the code's; empty where they are equal."""
    lines = difflib.unified_diff(committed.splitlines(), wanted.splitlines(), "committed", "code", lineterm="")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
