"""That the check of our manifests can fail, with the programs that `make test` brings."""

import json
import sys
from pathlib import Path

import pytest

from tools import manifest_checks
from tools.manifest_checks import ONE_NODE, problems_of_checkov, problems_of_schemas, samples

PROGRAMS = Path(__file__).resolve().parents[2] / ".checkers" / "bin"

pytestmark = pytest.mark.skipif(not PROGRAMS.exists(), reason="`make test` brings the programs that this needs")


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


def test_what_checkov_finds_is_told_unless_it_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    named = {"CKV_K8S_43": "known", "CKV_K8S_99": "never found"}
    problems = problems_of_checkov(PROGRAMS, tmp_path, named)
    assert "checkov: CKV_K8S_15: Image Pull Policy should be Always" in {each.partition(" (")[0] for each in problems}
    assert "checkov: CKV_K8S_99 is named as an exception and not found any more; take it out" in problems
    assert "CKV_K8S_43" not in "".join(problems)


def test_a_checker_that_understands_nothing_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (problem,) = problems_of_checkov(PROGRAMS, tmp_path, {})
    assert problem.startswith("checkov could not")


def test_what_we_send_holds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["manifest_checks", str(PROGRAMS)])
    manifest_checks.main()
    assert capsys.readouterr().out.startswith(f"{len(list(samples()))} manifests hold for Kubernetes 1.33 to 1.37")


def test_what_is_wrong_ends_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["manifest_checks", str(tmp_path)])
    monkeypatch.setattr(manifest_checks, "VERSIONS", ("1.37",))
    for name, answer in (("kubernetes-validate", "echo no such field; exit 1"), ("checkov", "echo nothing to read")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o755)
    with pytest.raises(SystemExit) as ended:
        manifest_checks.main()
    assert str(ended.value).splitlines()[0] == "Kubernetes 1.37: no such field"
    assert "checkov could not be understood: nothing to read" in str(ended.value)


def test_it_says_which_argument_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["manifest_checks"])
    with pytest.raises(SystemExit, match="say where kubernetes-validate and checkov are"):
        manifest_checks.main()
