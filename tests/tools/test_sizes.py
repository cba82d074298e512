"""The size check: exact limits, what is exempt, and what it says."""

import ast
from pathlib import Path

from tools.sizes import too_long
from tools.sources import Finding, Source


def source(text: str, path: str = "registry/models/models.py") -> Source:
    return Source(Path(path), text, ast.parse(text))


def function_of(lines: int, keyword: str = "def") -> str:
    return f"{keyword} publish():\n" + "    x = 1\n" * (lines - 1)


class TestModules:
    def test_one_line_below_the_limit_passes(self) -> None:
        assert list(too_long([source("x = 1\n" * 399)])) == []

    def test_the_limit_itself_is_too_long(self) -> None:
        assert list(too_long([source("x = 1\n" * 400)])) == [
            Finding(Path("registry/models/models.py"), 1, "module of 400 lines; the limit is under 400")
        ]

    def test_a_migration_is_a_module_like_any_other(self) -> None:
        migration = source("x = 1\n" * 400, "guildhall/migrations/versions/0001_auth.py")
        assert len(list(too_long([migration]))) == 1


class TestFunctions:
    def test_one_line_below_the_limit_passes(self) -> None:
        assert list(too_long([source(function_of(69))])) == []

    def test_the_limit_itself_is_too_long(self) -> None:
        assert list(too_long([source("\n\n" + function_of(70))])) == [
            Finding(Path("registry/models/models.py"), 3, "function publish of 70 lines; the limit is under 70")
        ]

    def test_coroutines_methods_and_nested_functions_count(self) -> None:
        nested = "class A:\n" + "".join(f"    {line}\n" for line in function_of(70, "async def").splitlines())
        assert [finding.line for finding in too_long([source(nested)])] == [2]

    def test_a_migration_may_list_all_its_tables_in_one_function(self) -> None:
        assert list(too_long([source(function_of(120), "guildhall/migrations/versions/0001_auth.py")])) == []
