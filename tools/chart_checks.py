"""Does Helm accept the chart, and Kubernetes and checkov what it renders? For each of the examples, and in parts.

Helm is built from its Go module once, beside the programs of the test cluster. Where there is no Go the checks are left
out in one line; GUILDHALL_REQUIRE_CLUSTER=1 makes that a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.helm_program import built_helm
from tests.cluster.unavailable import ClusterUnavailable
from tools.manifest_checks import VERSIONS, problems_of_checkov, problems_of_schemas, write_manifest

CHART = Path(__file__).resolve().parents[1] / "helm" / "guildhall"
EXAMPLES = ("production", "trial")
CHECKOV_EXCEPTIONS = {
    "CKV_K8S_15": "an image by digest or a tag that stays needs no pull before each start; image.pullPolicy says it",
    "CKV_K8S_35": "the settings are environment variables; the keys are files",
    "CKV_K8S_38": "API and workers speak to the cluster that they run in, where clusterAccess.create says so",
    "CKV_K8S_43": "the example of a trial names a tag; that of production a digest",
}
SECONDS_MAX = 120


class ChartRefused(Exception):
    """What Helm said against the chart or its values."""


def main() -> None:
    """Check with the programs in the folder that the one argument names; what is wrong exits 1."""
    if len(sys.argv) != 2:
        sys.exit("say where kubernetes-validate and checkov are: python -m tools.chart_checks .checkers/bin")
    programs = Path(sys.argv[1])
    try:
        helm = built_helm(lambda sentence: print(sentence, file=sys.stderr, flush=True))
    except ClusterUnavailable as error:
        if os.environ.get("GUILDHALL_REQUIRE_CLUSTER") == "1":
            sys.exit(f"GUILDHALL_REQUIRE_CLUSTER=1, and yet: {error}")
        print(f"the chart is not checked: {error}")
        return
    problems: list[str] = []
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            manifests = [manifest for example in EXAMPLES for manifest in checked(helm, example)]
        except ChartRefused as error:
            sys.exit(str(error))
        files = [write_manifest(Path(folder), number, manifest) for number, manifest in enumerate(manifests)]
        count = len(files)
        problems += problems_of_schemas(programs, files)
        problems += problems_of_checkov(programs, Path(folder), CHECKOV_EXCEPTIONS)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{count} manifests of the chart hold for Kubernetes {VERSIONS[0]} to {VERSIONS[-1]}, but for:")
    for check, reason in CHECKOV_EXCEPTIONS.items():
        print(f"  {check}: {reason}")


def checked(helm: Path, example: str) -> list[dict[str, Any]]:
    """Lint with an example's values, and render it. Raises ChartRefused."""
    values = CHART / "examples" / f"{example}.yaml"
    _run(helm, "lint", "--strict", str(CHART), "--values", str(values))
    return rendered(helm, "--values", str(values))


def rendered(helm: Path, *arguments: str, release: str = "guildhall") -> list[dict[str, Any]]:
    """Every manifest of the chart, as `helm template` prints it. Raises ChartRefused."""
    told = _run(helm, "template", release, str(CHART), "--namespace", "guildhall", *arguments)
    return [manifest for manifest in yaml.safe_load_all(told) if manifest]


def _run(helm: Path, *arguments: str) -> str:
    """Helm with folders of its own: neither its cache nor its settings are the user's."""
    with tempfile.TemporaryDirectory() as home:
        variables = dict.fromkeys(("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"), home)
        done = subprocess.run(
            [str(helm), *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
            env={**os.environ, **variables},
        )
    if done.returncode != 0:
        raise ChartRefused(f"helm {arguments[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
