"""The page of permissions is what the code says."""

from pathlib import Path

import pytest

from guildhall.auth.permissions import PERMISSIONS
from tools import permissions_page


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["permissions_page", *arguments])
    permissions_page.main()


def test_the_committed_page_is_the_code_s() -> None:
    assert permissions_page.FILE.read_text(encoding="utf-8") == permissions_page.compose_page()


def test_every_permission_has_its_line_and_its_roles() -> None:
    page = permissions_page.compose_page()
    for entry in PERMISSIONS.values():
        assert f"| `{entry.name}` | {entry.sentence}" in page
    assert "| `registry:model:publish` | publish or abandon a version of a model | DATA_WRITE | maintainer |" in page
    assert "| `scheduler:job:settle` |" in page


def test_it_is_written_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "permissions.md"
    monkeypatch.setattr(permissions_page, "FILE", file)
    with pytest.raises(SystemExit, match="run `make permissions`"):
        run(monkeypatch, "check")
    run(monkeypatch, "write")
    run(monkeypatch, "check")
    assert capsys.readouterr().out.endswith("is what the code says\n")
    file.write_text(file.read_text() + "more\n")
    with pytest.raises(SystemExit, match="run `make permissions`"):
        run(monkeypatch, "check")
    with pytest.raises(SystemExit, match="one of write, check"):
        run(monkeypatch)
