"""The committed schema against the code's: equal, changed, missing."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import schema_file

SCHEMA = "type Query {\n  viewer: Viewer\n}"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "guildhall").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(schema_file, "composed_schema", lambda: SimpleNamespace(text=SCHEMA))
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["schema_file", *arguments])
    schema_file.main()


class TestMain:
    def test_what_was_written_checks(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        call(monkeypatch, "write")
        call(monkeypatch, "check")
        assert (root / "guildhall" / "schema.graphql").read_text() == SCHEMA + "\n"

    @pytest.mark.parametrize("committed", ["type Query {\n  viewer: User\n}\n", ""])
    def test_a_difference_is_shown_and_fails_and_changes_nothing(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, committed: str
    ) -> None:
        file = root / "guildhall" / "schema.graphql"
        file.write_text(committed)
        with pytest.raises(SystemExit, match=r"(?s)\+  viewer: Viewer.*run `make schema`"):
            call(monkeypatch, "check")
        assert file.read_text() == committed

    @pytest.mark.usefixtures("root")
    def test_a_missing_file_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(SystemExit, match="is not what the code says"):
            call(monkeypatch, "check")

    @pytest.mark.usefixtures("root")
    @pytest.mark.parametrize("arguments", [[], ["print"], ["write", "check"]])
    def test_anything_else_is_refused(self, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
        with pytest.raises(SystemExit, match="one of write, check, please"):
            call(monkeypatch, *arguments)
