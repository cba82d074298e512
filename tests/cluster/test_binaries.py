from pathlib import Path

import pytest

from tests.cluster.binaries import _Build, kubernetes_version
from tests.cluster.unavailable import ClusterUnavailable


class TestBuild:
    def test_says_that_go_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ClusterUnavailable, match="`go` is not on PATH"):
            _Build(lambda _: None).into(tmp_path / "binaries")

    def test_says_what_go_said_last(self, tmp_path: Path) -> None:
        with pytest.raises(ClusterUnavailable, match=r"^go build failed in .*/cluster: .*nothing-of-this-name"):
            _Build(lambda _: None)._go(Path(__file__).parent, ["build", "./nothing-of-this-name"])


class TestVersion:
    def test_is_the_one_that_go_mod_pins(self) -> None:
        assert kubernetes_version() == "v1.37.1"
