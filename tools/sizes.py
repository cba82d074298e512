"""Modules stay under 400 lines and functions under 70 (STYLE 2), nothing grandfathered.

Every bucket file that we read in other code bases began as a reasonable module; a number that fails the build is what
kept the good ones small. Lines are counted as an editor shows them, docstrings and comments included.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.sources import Finding, Source, python_sources

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

# A revision's upgrade() is one list of tables and constraints, read from top to bottom once; cut into functions, it
# would only hide the order that the database needs. Its module may not grow past the limit of modules either way.
FUNCTIONS_EXEMPT = "guildhall/migrations/versions/"


def main() -> None:
    """Print what is too long and exit 1, or say how much was looked at."""
    sources = list(python_sources(Path()))
    findings = sorted(too_long(sources))
    for finding in findings:
        print(finding)
    if findings:
        sys.exit(1)
    print(f"{len(sources)} modules under {MODULE_LINES_MAX} lines, their functions under {FUNCTION_LINES_MAX}")


def too_long(sources: Iterable[Source]) -> Iterator[Finding]:
    """Find the modules and functions at or over their limits."""
    for source in sources:
        lines = len(source.text.splitlines())
        if lines >= MODULE_LINES_MAX:
            yield Finding(source.path, 1, f"module of {lines} lines; the limit is under {MODULE_LINES_MAX}")
        if source.path.as_posix().startswith(FUNCTIONS_EXEMPT):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines >= FUNCTION_LINES_MAX:
                    sentence = f"function {node.name} of {lines} lines; the limit is under {FUNCTION_LINES_MAX}"
                    yield Finding(source.path, node.lineno, sentence)


if __name__ == "__main__":
    main()
