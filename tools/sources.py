"""Which files the checks read: what git tracks or would track, so that a forgotten `git add` hides nothing."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """One Python file, read and parsed once; `path` is relative to the root of the repository."""

    path: Path
    text: str
    tree: ast.Module


@dataclass(frozen=True, order=True)
class Finding:
    """One place that breaks a rule, in the form editors make clickable."""

    path: Path
    line: int
    sentence: str

    def __str__(self) -> str:
        """Give `path:line: sentence`."""
        return f"{self.path}:{self.line}: {self.sentence}"


def python_sources(root: Path) -> Iterator[Source]:
    """Read every Python file of the repository at `root`, ignored ones left out."""
    for path in repository_files(root, "*.py"):
        text = (root / path).read_text(encoding="utf-8")
        yield Source(path, text, ast.parse(text, str(path)))


def repository_files(root: Path, *patterns: str) -> list[Path]:
    """List tracked and not ignored untracked files that match git's `patterns`, without those deleted on disk."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    paths = sorted({Path(name) for name in listed.split("\0") if name})
    return [path for path in paths if (root / path).is_file()]


def docstring_of(node: ast.AST) -> ast.Constant | None:
    """Return the docstring's own node of a module, class or function, where it has one."""
    body = getattr(node, "body", None)
    if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
        return None
    value = body[0].value
    return value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
