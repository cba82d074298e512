"""What neither ruff nor import-linter looks at: names of modules, package files, and the database's clock.

- No `utils.py`, `service.py`, `helpers.py`, `manager.py` (STYLE 1): a name that says nothing collects everything.
- `__init__.py` holds one docstring and no code (STYLE 4): importing a package runs nothing and hides no cycle.
- No `now()` in SQL (DESIGN, the ledger): business time is a parameter, so that simulated time runs the same code. Where
  the server's own time is meant, the line or the one above says so: `# server time: why`, in SQL `-- server time: why`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.sources import Finding, Source, docstring_of, python_sources, repository_files

NAMES_FORBIDDEN = frozenset(
    {"utils", "util", "service", "services", "helpers", "helper", "manager", "managers", "common", "misc"}
)
SERVER_CLOCK = re.compile(
    r"\b(now\s*\(\s*\)|(?:clock|statement|transaction)_timestamp\s*\(|(?:current|local)_?time(?:stamp)?\b|current_date\b)",
    re.IGNORECASE,
)
SERVER_TIME_MEANT = re.compile(r"(#|--) server time: \S")
# The tools name what they forbid, their tests break it, and pytest's own options are not SQL.
SQL_EXEMPT = ("tools/", "tests/tools/")


def main() -> None:
    """Print what breaks a rule and exit 1, or say how much was looked at."""
    sources = list(python_sources(Path()))
    findings = [finding for source in sources for check in CHECKS for finding in check(source)]
    for path in repository_files(Path(), "*.sql"):
        findings.extend(server_clock_in_text(path, path.read_text(encoding="utf-8")))
    for finding in sorted(findings):
        print(finding)
    if findings:
        sys.exit(1)
    print(f"{len(sources)} modules well named, package files empty, business time never the database's")


def forbidden_names(source: Source) -> Iterator[Finding]:
    """Find a module or folder whose name says nothing."""
    for part in source.path.with_suffix("").parts:
        if part in NAMES_FORBIDDEN:
            yield Finding(source.path, 1, f"“{part}” says nothing; name the noun that lives here")


def package_files(source: Source) -> Iterator[Finding]:
    """Find an `__init__.py` that is more, or less, than one docstring."""
    if source.path.name != "__init__.py":
        return
    if docstring_of(source.tree) is None:
        yield Finding(source.path, 1, "a package file begins with a docstring that says what the package is for")
    elif len(source.tree.body) > 1:
        yield Finding(source.path, source.tree.body[1].lineno, "a package file holds one docstring and no code")


def server_clock(source: Source) -> Iterator[Finding]:
    """Find SQL in string literals that asks the database for the time; docstrings may speak of it."""
    if source.path.as_posix().startswith(SQL_EXEMPT):
        return
    docstrings = {docstring_of(node) for node in ast.walk(source.tree)}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            last = node.end_lineno or node.lineno
            yield from server_clock_in_text(source.path, source.text, node.lineno, last, within=node.value)


def server_clock_in_text(
    path: Path, text: str, first: int = 1, last: int | None = None, within: str | None = None
) -> Iterator[Finding]:
    """Find lines of SQL, numbers `first` to `last`, that read the server's clock and do not say that they mean it.

    They say so on the line itself or on the one above. `within` narrows a line of Python to its string literal.
    """
    lines = ["", *text.splitlines()]
    for number in range(first, (last or len(lines) - 1) + 1):
        match = SERVER_CLOCK.search(lines[number].split("--")[0])
        meant = SERVER_TIME_MEANT.search(lines[number - 1]) or SERVER_TIME_MEANT.search(lines[number])
        if match and not meant and (within is None or match[0] in within):
            yield Finding(path, number, f"{match[0]} is the database's clock; business time is a parameter")


CHECKS = (forbidden_names, package_files, server_clock)

if __name__ == "__main__":
    main()
