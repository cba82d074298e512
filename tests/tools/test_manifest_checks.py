"""That the check of our manifests can fail, with the programs that `make manifests` brings."""

import json
from pathlib import Path

import pytest

from tools import manifest_checks
from tools.manifest_checks import ONE_NODE, problems_of_checkov, problems_of_schemas, samples

PROGRAMS = Path(__file__).resolve().parents[2] / ".checkers" / "bin"

pytestmark = pytest.mark.skipif(not PROGRAMS.exists(), reason="`make manifests` brings the programs that this needs")


def write(folder: Path, **changes: object) -> Path:
    """A Job of ours, with changes to its spec."""
    (job,) = (each for each in samples() if each["kind"] == "Job" and each["metadata"]["name"] == ONE_NODE.name)
    job["spec"] |= changes
    path = folder / "job.json"
    path.write_text(json.dumps(job, indent=1))
    return path


def test_a_field_that_is_none_is_refused_by_every_version(tmp_path: Path) -> None:
    problems = problems_of_schemas(PROGRAMS, [write(tmp_path, backoffLimits=0)])
    refused = {problem.partition(":")[0] for problem in problems if "backoffLimits" in problem}
    assert refused == {f"Kubernetes {version}" for version in manifest_checks.VERSIONS}


def test_a_value_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    assert problems_of_schemas(PROGRAMS, [write(tmp_path, backoffLimit="none")])
    assert problems_of_schemas(PROGRAMS, [write(tmp_path)]) == []


def test_what_checkov_finds_is_told_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    named = {"CKV_K8S_43": "known", "CKV_K8S_99": "never found"}
    monkeypatch.setattr(manifest_checks, "CHECKOV_EXCEPTIONS", named)
    problems = problems_of_checkov(PROGRAMS, tmp_path)
    assert "checkov: CKV_K8S_15: Image Pull Policy should be Always" in {each.partition(" (")[0] for each in problems}
    assert "checkov: CKV_K8S_99 is named as an exception and not found any more; take it out" in problems
    assert "CKV_K8S_43" not in "".join(problems)


def test_a_checker_that_understands_nothing_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (problem,) = problems_of_checkov(PROGRAMS, tmp_path)
    assert problem.startswith("checkov could not")
