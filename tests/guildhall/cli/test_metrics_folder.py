"""The folder of counts goes with its parent, or with the next one."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from guildhall.cli.metrics_folder import metrics_folder

HOLDER = """
from guildhall.cli.metrics_folder import metrics_folder
with metrics_folder() as folder:
    (folder / "counter_1.db").write_bytes(b"1")
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


class TestMetricsFolder:
    def test_is_gone_afterwards(self, temporary: Path) -> None:
        with metrics_folder() as folder:
            assert list(temporary.iterdir()) == [folder]
        assert list(temporary.iterdir()) == []

    def test_two_at_once_leave_each_other_alone(self, temporary: Path) -> None:
        with metrics_folder() as one, metrics_folder() as other:
            assert set(temporary.iterdir()) == {one, other}

    def test_the_next_one_takes_away_what_a_killed_parent_left(self, temporary: Path) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as parent:
            assert parent.stdout is not None
            left = Path(parent.stdout.readline().strip())
            with metrics_folder() as folder:
                assert set(temporary.iterdir()) == {left, folder}
            parent.kill()
            assert parent.wait() == -signal.SIGKILL
        assert list(temporary.iterdir()) == [left]
        with metrics_folder() as folder:
            assert list(temporary.iterdir()) == [folder]

    def test_what_is_no_lock_is_left_alone(self, temporary: Path) -> None:
        strange = temporary / "guildhall-metrics-strange"
        strange.mkdir()
        (strange / "lock").symlink_to(temporary / "elsewhere")
        (temporary / "elsewhere").touch()
        with metrics_folder() as folder:
            assert set(temporary.iterdir()) == {strange, temporary / "elsewhere", folder}
