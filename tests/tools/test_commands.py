"""Each check as `make` calls it: what it prints and how it ends, in a fine repository and in a broken one."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = """
[tool.guildhall.coverage.floors]
"" = 90
[tool.guildhall.coverage.exceptions]
[tool.guildhall.dead-code.kept]
"""
FINE = {
    "pyproject.toml": PYPROJECT,
    "registry/__init__.py": '"""The registry."""\n',
    "registry/cards.py": "def complete():\n    return 1\n\n\ncomplete()\n",
    "registry/cards.sql": "SELECT 1;\n",
    "coverage.json": json.dumps({"files": {"registry/cards.py": {"summary": {"percent_covered": 100.0}}}}),
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    for name, text in FINE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["check", "coverage.json"])
    return tmp_path


@pytest.mark.parametrize(
    ("check", "want"),
    [
        ("sizes", "2 modules under 400 lines, their functions under 70\n"),
        ("shape", "2 modules well named, package files empty, business time never the database's\n"),
        ("dead_code", "all code is reached; 0 things are kept for a reason\n"),
        ("coverage_floor", "1 modules reach their floors of coverage, 0 of them by exception\n"),
    ],
)
@pytest.mark.usefixtures("root")
def test_says_what_it_looked_at(check: str, want: str, capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module(f"tools.{check}").main()
    assert capsys.readouterr().out == want


@pytest.mark.parametrize(
    ("check", "path", "text", "want"),
    [
        (
            "sizes",
            "registry/long.py",
            "x = 1\n" * 400,
            "registry/long.py:1: module of 400 lines; the limit is under 400\n",
        ),
        (
            "shape",
            "registry/utils.py",
            "",
            "registry/utils.py:1: “utils” says nothing; name the noun that lives here\n",
        ),
        (
            "shape",
            "registry/late.sql",
            "SELECT 1;\nSELECT now();\n",
            "registry/late.sql:2: now() is the database's clock; business time is a parameter\n",
        ),
        (
            "dead_code",
            "registry/dead.py",
            "def forget(): ...\n",
            "registry/dead.py:1: unused function 'forget' (registry/dead.py::forget)\n",
        ),
        (
            "coverage_floor",
            "coverage.json",
            json.dumps({"files": {"registry/cards.py": {"summary": {"percent_covered": 50.0}}}}),
            "registry/cards.py: 50.0 % covered, 90 % wanted\n",
        ),
    ],
)
def test_names_what_breaks_it_and_fails(
    root: Path, capsys: pytest.CaptureFixture[str], check: str, path: str, text: str, want: str
) -> None:
    (root / path).write_text(text)
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"tools.{check}").main()
    assert end.value.code == 1
    assert capsys.readouterr().out == want


def test_coverage_without_rules_is_a_mistake(root: Path) -> None:
    (root / "pyproject.toml").write_text("[tool]\n")
    with pytest.raises(AssertionError, match="has no"):
        importlib.import_module("tools.coverage_floor").main()
