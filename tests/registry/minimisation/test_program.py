"""The process that cuts, as the server starts it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from registry.minimisation.filters import DataFilter

ROOT = Path(__file__).resolve().parents[3]


def run(folder: Path, content: bytes, **order: Any) -> subprocess.CompletedProcess[bytes]:
    source, target = folder / "source", folder / "target"
    source.write_bytes(content)
    limits = DataFilter(columns=frozenset({"id"})).as_json()
    told: dict[str, Any] = {"source": str(source), "target": str(target), "sizeBytes": len(content)}
    told |= {"path": "a.csv", "seed": "00" * 32, "filter": limits}
    return subprocess.run(
        [sys.executable, "-m", "registry.minimisation.program"],
        cwd=ROOT,
        input=json.dumps({**told, **order}).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_it_answers_how_many_rows_are_left(tmp_path: Path) -> None:
    done = run(tmp_path, b"id,name\n1,a\n2,b\n")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"rows": 2, "rowsRead": 2})
    assert (tmp_path / "target").read_bytes() == b"id\n1\n2\n"


def test_it_answers_why_nothing_is(tmp_path: Path) -> None:
    done = run(tmp_path, b"name\na\n")
    assert done.returncode == 0
    assert json.loads(done.stdout)["code"] == "NO_GRANTED_COLUMN"


@pytest.mark.parametrize("wasteful", ["bytearray(3 << 30)", "open('target', 'wb').write(bytes(65 << 20))"])
def test_what_unpacks_to_far_more_than_it_seems_ends_the_process(tmp_path: Path, wasteful: str) -> None:
    code = f"from registry.minimisation.program import limit; limit(0); {wasteful}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0


def test_a_preview_is_of_what_is_left_and_reads_no_further_than_it_shows(tmp_path: Path) -> None:
    limits = DataFilter(shown_rows=1)
    done = run(tmp_path, b"id,name\n1,a\n2,b\n3\n", filter=limits.as_json())
    assert (done.returncode, json.loads(done.stdout)) == (0, {"rows": 1, "rowsRead": 2})
    assert json.loads((tmp_path / "target").read_bytes())["rows"] == [["1", "a"]]


def test_the_beginning_of_a_file_that_is_not_enough(tmp_path: Path) -> None:
    done = run(tmp_path, b"id\n1\n2", filter=DataFilter(shown_rows=2).as_json(), sizeBytes=100)
    assert json.loads(done.stdout)["code"] == "CUT_SHORT"
