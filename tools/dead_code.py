"""Code that nothing reaches: vulture, told what others reach by reflection.

Tests do not count as a use: what only its own test calls is dead. What is kept all the same is named in
`pyproject.toml` under `[tool.guildhall.dead-code.kept]` with the reason; an entry that
is no longer needed is a finding too.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from vulture.core import Vulture

from tools.sources import Finding

# The client's users are outside this repository, so it is read for what it uses and not judged.
JUDGED = ("guildhall", "registry", "marketplace", "scheduler", "demo", "tools")
READ = (*JUDGED, "client/src")

# Whoever puts these on a function calls it: strawberry through our declarations, litestar, SQLAlchemy.
DECORATORS = (
    "@node*",
    "@object_type*",
    "@extend*",
    "@input_type*",
    "@mutation*",
    "@query*",
    "@find*",
    "@subscription*",
    "@resolver*",
    "@batched*",
    "@strawberry.*",
    "@get*",
    "@post*",
    "@put*",
    "@patch*",
    "@delete*",
    "@head*",
    "@route*",
    "@asgi*",
    "@event.listens_for*",
)

# Files whose names others look up. Columns and GraphQL fields are read through metadata, revisions by alembic.
REFLECTED = ("*/tables.py", "*/graphql/*.py", "guildhall/schema/*.py", "guildhall/migrations/*.py")
ENUMS = frozenset({"Enum", "StrEnum", "IntEnum", "Flag", "IntFlag"})


@dataclass(frozen=True)
class Unused:
    """What vulture found: `kind` is its word (function, class, variable, …), `key` how pyproject.toml names it."""

    finding: Finding
    kind: str
    name: str

    @property
    def key(self) -> str:
        """Give `path::name`."""
        return f"{self.finding.path.as_posix()}::{self.name}"


def main() -> None:
    """Print what nothing reaches and exit 1, or say that all is reached."""
    pyproject = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    kept: Mapping[str, str] = pyproject["tool"]["guildhall"]["dead-code"]["kept"]
    sentences = list(judge(list(unused_code(Path(), READ)), kept))
    for sentence in sentences:
        print(sentence)
    if sentences:
        sys.exit(1)
    print(f"all code is reached; {len(kept)} things are kept for a reason")


def unused_code(root: Path, folders: Sequence[str]) -> Iterator[Unused]:
    """Run vulture over the folders that exist, and drop what is reached by reflection."""
    finder = Vulture(ignore_decorators=list(DECORATORS), ignore_names=["__*"])
    finder.scavenge([str(root / folder) for folder in folders if (root / folder).is_dir()])
    columns = columns_of(root)
    for item in finder.get_unused_code(min_confidence=60):
        path = Path(item.filename).resolve().relative_to(root.resolve())
        unused = Unused(Finding(path, item.first_lineno, item.message), item.typ, item.name)
        if path.parts[0] not in JUDGED or (unused.kind == "attribute" and unused.name in columns):
            continue
        if not is_reflected(unused, (root / path).read_text(encoding="utf-8")):
            yield unused


def columns_of(root: Path) -> set[str]:
    """Collect the names of all columns: setting one on a row is its use, SQLAlchemy writes it."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in root.glob("*/**/tables.py")]
    fields = [node.target for tree in trees for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
    return {field.id for field in fields if isinstance(field, ast.Name)}


def is_reflected(unused: Unused, text: str) -> bool:
    """Tell whether somebody looks it up: a table, a column, a GraphQL field, a member of an enum, an alembic hook."""
    path = unused.finding.path.as_posix()
    if path.startswith("guildhall/migrations/"):
        return unused.kind in {"function", "variable"}
    if unused.kind == "class":
        return path.endswith("/tables.py")
    if unused.kind != "variable":
        return False
    if any(fnmatch(path, pattern) for pattern in REFLECTED):
        return True
    return any(first <= unused.finding.line <= last for first, last in enum_bodies(text))


def enum_bodies(text: str) -> Iterator[tuple[int, int]]:
    """Find the lines of enums: their members also come from the database and from callers, by value."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and ENUMS & {ast.unparse(base).rpartition(".")[2] for base in node.bases}:
            yield node.lineno, node.end_lineno or node.lineno


def judge(found: Sequence[Unused], kept: Mapping[str, str]) -> Iterator[str]:
    """Say what is dead and not kept, and which entries of `kept` say nothing any more."""
    for unused in found:
        if unused.key not in kept:
            yield f"{unused.finding} ({unused.key})"
    for key, reason in kept.items():
        if not reason.strip():
            yield f"{key} is kept without a reason in pyproject.toml"
        if key not in {unused.key for unused in found}:
            yield f"{key} is reached or gone; remove it from pyproject.toml"


if __name__ == "__main__":
    main()
