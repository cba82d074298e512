"""The manifest of trusted documents against what the clients send: equal, changed, missing."""

import json
import sys
from pathlib import Path

import pytest

from guildhall.graphql.trusted import digest_of
from guildhall_client import documents
from guildhall_client.command.documents.people import WHO_AM_I
from tools import trusted_documents


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "trusted_documents.json"
    monkeypatch.setattr(trusted_documents, "MANIFEST", file)
    return file


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["trusted_documents", *arguments])
    trusted_documents.main()


class TestMain:
    def test_what_was_written_checks(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        call(monkeypatch, "write")
        call(monkeypatch, "check")
        written = json.loads(file.read_text())
        assert all(digest == digest_of(text) for digest, text in written.items())
        assert {documents.JOB, WHO_AM_I, *trusted_documents.ALIVE} <= set(written.values())

    @pytest.mark.parametrize("committed", [None, "{}\n"])
    def test_a_difference_fails_and_changes_nothing(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, committed: str | None
    ) -> None:
        if committed is not None:
            file.write_text(committed)
        with pytest.raises(SystemExit, match="is not what the clients send; run `make trusted-documents`"):
            call(monkeypatch, "check")
        assert (file.read_text() if file.exists() else None) == committed

    @pytest.mark.usefixtures("file")
    @pytest.mark.parametrize("arguments", [[], ["print"], ["write", "check"]])
    def test_anything_else_is_refused(self, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
        with pytest.raises(SystemExit, match="one of write, check, please"):
            call(monkeypatch, *arguments)
