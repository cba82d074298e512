"""Write `docs/permissions.md` from the table of permissions and the roles that come with the product, or compare.

The page is committed, so that a change of what a role may do is read in review in words.
"""

from __future__ import annotations

import sys
from pathlib import Path

from guildhall.auth.permissions import PERMISSIONS
from guildhall.auth.roles import ROLE_SENTENCES, ROLES

FILE = Path("docs/permissions.md")
ACTIONS = ("write", "check")


def main() -> None:
    """Do what the one argument says, `write` or `check`; a difference exits 1."""
    if sys.argv[1:] not in [[action] for action in ACTIONS]:
        sys.exit(f"one of {', '.join(ACTIONS)}, please")
    wanted = compose_page()
    if sys.argv[1] == "write":
        FILE.write_text(wanted, encoding="utf-8")
        print(f"{FILE} written, {len(PERMISSIONS)} permissions")
        return
    if not FILE.exists() or FILE.read_text(encoding="utf-8") != wanted:
        sys.exit(f"{FILE} is not what the code says; run `make permissions` and review the change")
    print(f"{FILE} is what the code says")


def compose_page() -> str:
    """The whole text: every role with its sentence, every permission with its own and the roles that allow it."""
    roles = [f"| {name} | {ROLE_SENTENCES[name]} | {len(set(ROLES[name]))} |" for name in ROLES]
    lines = []
    for entry in PERMISSIONS.values():
        allowing = ", ".join(name for name in ROLES if entry.name in ROLES[name]) or "(the platform itself)"
        where = ", in a team of their own" if entry.in_own_team else ""
        lines.append(f"| `{entry.name}` | {entry.sentence}{where} | {entry.permission_class} | {allowing} |")
    return "\n".join([
        "# Permissions and roles",
        "",
        "Made by `make permissions` from `guildhall/auth/permissions.py` and `roles.py`. What a role allows in an",
        "installation is in its database, where administrators change it: ask `roles` and `permissions` in GraphQL.",
        "[How access works](access.md).",
        "",
        "| role | what it is for | permissions |",
        "| --- | --- | ---: |",
        *roles,
        "",
        "| permission | whoever has it may … | class | roles that come with it |",
        "| --- | --- | --- | --- |",
        *lines,
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
