"""Whether what we send to Kubernetes is valid for every version that we support, and what checkov says of it.

Writes samples of all manifests into a temporary folder and has two programs read them, which live in an environment of
their own (`tools/manifest-checkers.txt`), because their dependencies are not ours. What checkov may find is named here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from scheduler.clusters.executor import Launch, Placement, Toleration
from scheduler.clusters.kubernetes.manifests import (
    closed_network_manifest,
    job_manifest,
    namespace_manifest,
    neighbours_manifests,
    token_manifest,
)
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.pods import PodRules

VERSIONS = ("1.33", "1.34", "1.35", "1.36", "1.37")
CHECKOV_EXCEPTIONS = {
    "CKV_K8S_43": "a job's image is its owner's to name; who wants it to stay the same names a digest",
    "CKV_K8S_15": "the same: with a digest or a tag that stays there is nothing to pull again before each start",
}
SECONDS_MAX = 300
JOB = UUID("019d0000-0000-7000-8000-000000000001")
INSTALLATION = Installation("019d0000-0000-7000-8000-0000cafe1234")
ONE_NODE = Launch(
    name=f"gh-{JOB.hex}-1",
    spec_hash="a" * 64,
    job_id=JOB,
    attempt_id=JOB,
    pool="h100",
    accelerator_slots=2,
    slot_indexes=(0, 1),
    cpu=4,
    memory_bytes=16 << 30,
    walltime_seconds=3600,
    environment={},
    token="a-secret",  # noqa: S106 -- nobody's
    api_url="https://10.0.0.7:8443",
    grace_seconds=10,
    team="maintenance",
    disk_bytes=20 << 30,
    sensitive=True,
    image="registry.example.org/train:1",
    accelerators_per_node=2,
    placement=Placement(
        node_selector={"example.org/pool": "h100"},
        tolerations=(Toleration(key="nvidia.com/gpu", effect="NoSchedule"),),
        accelerator_resource="nvidia.com/gpu",
    ),
    machines=("node-1",),
)


def main() -> None:
    """Check with the programs in the folder that the one argument names; what is wrong exits 1."""
    if len(sys.argv) != 2:
        sys.exit("say where kubernetes-validate and checkov are: python -m tools.manifest_checks .checkers/bin")
    programs = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        files = [write_manifest(Path(folder), number, manifest) for number, manifest in enumerate(samples())]
        problems = [
            *problems_of_schemas(programs, files),
            *problems_of_checkov(programs, Path(folder), CHECKOV_EXCEPTIONS),
        ]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(files)} manifests hold for Kubernetes {VERSIONS[0]} to {VERSIONS[-1]}, and before checkov but for:")
    for check, reason in CHECKOV_EXCEPTIONS.items():
        print(f"  {check}: {reason}")


def samples() -> Iterator[dict[str, Any]]:
    """One of each kind of manifest, for one node and for several."""
    yield namespace_manifest(INSTALLATION, ONE_NODE.team)
    yield closed_network_manifest(
        INSTALLATION, ONE_NODE.team, api_url=ONE_NODE.api_url, networks=["10.0.0.7/32", "fd00::1/128"]
    )
    for launch in (ONE_NODE, replace(ONE_NODE, name=f"gh-{JOB.hex}-2", nodes=2, accelerator_slots=4)):
        yield job_manifest(INSTALLATION, launch, PodRules())
        yield token_manifest(INSTALLATION, launch, "a-uid")
        yield from neighbours_manifests(INSTALLATION, launch, "a-uid")


def problems_of_schemas(programs: Path, files: list[Path]) -> list[str]:
    """What the strict schemas of each version refuse, unknown fields among it."""
    problems = []
    for version in VERSIONS:
        command = [str(programs / "kubernetes-validate"), "--strict", "-k", version, *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
        said = (done.stdout + done.stderr).splitlines()
        if done.returncode != 0 or sum("passed" in line for line in said) != len(files):
            problems += [f"Kubernetes {version}: {line}" for line in said if "passed" not in line] or [
                f"Kubernetes {version}: the schemas' program said nothing"
            ]
    return problems


def problems_of_checkov(programs: Path, folder: Path, exceptions: Mapping[str, str]) -> list[str]:
    """What checkov finds beyond the named exceptions, and exceptions that it does not find any more."""
    command = [
        *(str(programs / "checkov"), "--directory", str(folder), "--framework", "kubernetes"),
        *("--output", "json", "--compact", "--quiet", "--skip-download"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    try:
        results = json.loads(done.stdout)["results"]
    except (ValueError, KeyError, TypeError):
        return [f"checkov could not be understood: {(done.stderr or done.stdout)[-500:]}"]
    if results.get("parsing_errors") or not results["failed_checks"]:
        return [f"checkov could not read what it was given: {done.stdout[-500:]}"]
    found = {each["check_id"]: each for each in results["failed_checks"]}
    return [
        *(
            f"checkov: {check}: {found[check]['check_name']} ({found[check]['resource']})"
            for check in sorted(found.keys() - exceptions)
        ),
        *(
            f"checkov: {check} is named as an exception and not found any more; take it out"
            for check in sorted(exceptions.keys() - found)
        ),
    ]


def write_manifest(folder: Path, number: int, manifest: dict[str, Any]) -> Path:
    """One file for each, as the two programs read them."""
    path = folder / f"{number}-{manifest['kind'].lower()}.json"
    path.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
