"""Names, package files and the database's clock: each rule broken on purpose, and its neighbour that is fine."""

import ast
from pathlib import Path

import pytest

from tools.shape import forbidden_names, package_files, server_clock, server_clock_in_text
from tools.sources import Finding, Source


def source(text: str, path: str = "marketplace/ledger.py") -> Source:
    return Source(Path(path), text, ast.parse(text))


class TestForbiddenNames:
    @pytest.mark.parametrize(
        "path",
        ["registry/utils.py", "registry/models/service.py", "guildhall/helpers/dates.py", "scheduler/manager.py"],
    )
    def test_a_name_that_says_nothing(self, path: str) -> None:
        assert [finding.path for finding in forbidden_names(source("", path))] == [Path(path)]

    @pytest.mark.parametrize("path", ["registry/models/models.py", "guildhall/auth/service_accounts.py"])
    def test_a_noun(self, path: str) -> None:
        assert list(forbidden_names(source("", path))) == []


class TestPackageFiles:
    def test_one_docstring(self) -> None:
        assert list(package_files(source('"""What for."""\n', "registry/__init__.py"))) == []

    def test_no_docstring(self) -> None:
        assert [finding.line for finding in package_files(source("", "registry/__init__.py"))] == [1]

    def test_code_below_the_docstring(self) -> None:
        text = '"""What for."""\n\nfrom registry.models import models\n'
        assert list(package_files(source(text, "registry/__init__.py"))) == [
            Finding(Path("registry/__init__.py"), 3, "a package file holds one docstring and no code")
        ]

    def test_any_other_module_may_hold_code(self) -> None:
        assert list(package_files(source("import os\n", "registry/storage.py"))) == []


class TestServerClock:
    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE holds SET ended_at = now()",
            "UPDATE holds SET ended_at = NOW ( )",
            "SELECT CURRENT_TIMESTAMP",
            "SELECT clock_timestamp()",
            "DEFAULT current_date",
        ],
    )
    def test_business_time_from_the_database(self, sql: str) -> None:
        assert [finding.line for finding in server_clock(source(f"x = 1\nSQL = '{sql}'\n"))] == [2]

    def test_the_line_inside_a_long_literal_is_named(self) -> None:
        text = 'SQL = """\nUPDATE holds\nSET ended_at = now()\n"""\n'
        assert [finding.line for finding in server_clock(source(text))] == [3]

    @pytest.mark.parametrize(
        "text",
        [
            "SQL = 'UPDATE holds SET ended_at = :at'\n",
            '"""Never now() in SQL."""\n',
            'def settle() -> None:\n    """Take `at`, never now()."""\n',
            "# server time: how old is the oldest connection\nSQL = 'SELECT now()'\n",
            "SQL = 'SELECT now()'  # server time: how old is the oldest connection\n",
            'SQL = """\nSELECT now() -- server time: how old is the oldest connection\n"""\n',
            'SQL = """\nSELECT 1 -- not now()\n"""\n',
            "ended_at = clock.now()\n",
            "SQL = 'SELECT known(), now_serving'\n",
        ],
    )
    def test_what_is_no_business_time(self, text: str) -> None:
        assert list(server_clock(source(text))) == []

    def test_the_checks_themselves_are_left_out(self) -> None:
        assert list(server_clock(source("SQL = 'now()'\n", "tools/shape.py"))) == []

    def test_a_file_of_sql(self) -> None:
        sql = "CREATE FUNCTION settle() AS $$\n  UPDATE holds SET ended_at = now();\n$$"
        assert [finding.line for finding in server_clock_in_text(Path("a.sql"), sql)] == [2]
