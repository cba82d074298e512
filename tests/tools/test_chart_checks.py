"""That the check of the chart can fail, with the programs that `make test` brings."""

import sys
from pathlib import Path

import pytest

from tests.cluster.unavailable import ClusterUnavailable
from tools import chart_checks
from tools.chart_checks import ChartRefused

PROGRAMS = Path(__file__).resolve().parents[2] / ".checkers" / "bin"
MANIFEST = """apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Helm that renders one manifest, or what the file `says` holds."""
    helm = tmp_path / "helm"
    (tmp_path / "says").write_text(MANIFEST)
    helm.write_text(f'#!/bin/sh\n[ "$1" = lint ] || cat {tmp_path}/says\n')
    helm.chmod(0o755)
    monkeypatch.setattr(chart_checks, "built_helm", lambda _: helm)
    monkeypatch.setattr(sys, "argv", ["chart_checks", str(PROGRAMS)])
    return helm


def no_go(_: object) -> Path:
    raise ClusterUnavailable("`go` is not on PATH")


class TestMain:
    @pytest.mark.skipif(not PROGRAMS.exists(), reason="`make test` brings the programs that this needs")
    def test_a_manifest_that_kubernetes_refuses_ends_it(
        self, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tools.manifest_checks.VERSIONS", ("1.37",))
        (tmp_path / "says").write_text(MANIFEST + "datas: {}\n")
        with pytest.raises(SystemExit) as ended:
            chart_checks.main()
        assert "Kubernetes 1.37: " in str(ended.value)
        assert "datas" in str(ended.value)
        # And what is named as an exception without need is told, because this chart has no pods.
        assert "checkov" in str(ended.value)

    def test_what_holds_is_counted(
        self, program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(chart_checks, "problems_of_schemas", lambda *_: [])
        monkeypatch.setattr(chart_checks, "problems_of_checkov", lambda *_: [])
        chart_checks.main()
        assert capsys.readouterr().out.startswith("2 manifests of the chart hold for Kubernetes 1.33 to 1.37, but for:")

    def test_what_helm_refuses_ends_it(self, program: Path) -> None:
        program.write_text("#!/bin/sh\necho no such value >&2; exit 1\n")
        with pytest.raises(SystemExit, match=r"^helm lint: no such value$"):
            chart_checks.main()

    def test_without_go_nothing_is_checked_and_that_is_said(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["chart_checks", "nowhere"])
        monkeypatch.setattr(chart_checks, "built_helm", no_go)
        monkeypatch.delenv("GUILDHALL_REQUIRE_CLUSTER", raising=False)
        chart_checks.main()
        assert capsys.readouterr().out == "the chart is not checked: `go` is not on PATH\n"
        monkeypatch.setenv("GUILDHALL_REQUIRE_CLUSTER", "1")
        with pytest.raises(SystemExit, match=r"^GUILDHALL_REQUIRE_CLUSTER=1, and yet: `go` is not on PATH$"):
            chart_checks.main()

    def test_it_says_which_argument_it_wants(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["chart_checks"])
        with pytest.raises(SystemExit, match="say where kubernetes-validate and checkov are"):
            chart_checks.main()


class TestRendered:
    def test_helm_is_given_the_chart_and_folders_of_its_own(self, program: Path) -> None:
        program.write_text('#!/bin/sh\nprintf "%s\\n" "argv: [$*]" "home: $HELM_CONFIG_HOME"\n')
        (told,) = chart_checks.rendered(program, "--set", "a=b")
        assert told["argv"] == [f"template guildhall {chart_checks.CHART} --namespace guildhall --set a=b"]
        assert not Path(told["home"]).exists()

    def test_what_it_says_instead_is_raised(self, program: Path) -> None:
        program.write_text("#!/bin/sh\necho nothing; exit 3\n")
        with pytest.raises(ChartRefused, match=r"^helm template: nothing$"):
            chart_checks.rendered(program)
