"""`python -m demo` around the story: how it ends, and what it says when it cannot go on."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demo import __main__ as demo
from demo.server import DemoFailed

FACTS: dict[str, Any] = {
    "accuracy": 0.9712,
    "quality_version": {"metrics": [{"value": 0.5}, {"value": 0.9834}]},
    "train_job": {"charge": {"captured": "0.25"}},
    "reads": [1, 2, 3],
    "balanced": True,
}


class Stage:
    """What `main` would start: it notes what was asked for, and tells what the test wants."""

    def __init__(self) -> None:
        self.served: list[Path] = []
        self.ended = False
        self.signed_in: list[tuple[str, str, str]] = []
        self.facts = FACTS

    @contextmanager
    def running_server(self, data_dir: Path, _log: Path) -> Iterator[str]:
        self.served.append(data_dir)
        try:
            yield "http://started"
        finally:
            self.ended = True

    def world(self, url: str, narrator: Any, *_rest: object) -> SimpleNamespace:
        return SimpleNamespace(
            narrator=narrator,
            facts=self.facts,
            tokens={"mira": "ghu_mira", "audrey": "ghu_audrey"},
            sign_in=lambda name, token: self.signed_in.append((url, name, token)),
        )


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    made = Stage()
    monkeypatch.setenv("GUILDHALL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "argv", ["demo"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(demo, "bootstrap_token", lambda _data_dir: "ghu_first")
    monkeypatch.setattr(demo, "running_server", made.running_server)
    monkeypatch.setattr(demo, "World", made.world)
    monkeypatch.setattr(demo, "CHAPTERS", ())
    return made


class TestMain:
    def test_ends_with_the_answers_an_address_and_a_token(
        self, stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert demo.main() == 0
        said = capsys.readouterr().out
        for answer in (
            "97.1% of the held-out",
            "98.3%",
            "0.25 credits",
            "3 reads on record",
            "yes, to the micro-credit",
        ):
            assert answer in said
        assert "/graphql" in said
        assert "ghu_mira" in said
        assert (stage.served, stage.ended) == ([tmp_path / "data"], True)
        assert stage.signed_in == [("http://started", "pat", "ghu_first")]

    def test_books_that_do_not_balance_are_no_small_print(
        self, stage: Stage, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stage.facts = {**FACTS, "balanced": False}
        demo.main()
        assert "NO" in capsys.readouterr().out

    def test_a_server_that_runs_already_is_used(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["demo", "--url", "http://elsewhere", "--token", "ghu_given"])
        assert demo.main() == 0
        assert stage.served == []
        assert stage.signed_in == [("http://elsewhere", "pat", "ghu_given")]

    @pytest.mark.usefixtures("stage")
    def test_an_address_alone_is_not_enough(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["demo", "--url", "http://elsewhere"])
        with pytest.raises(SystemExit) as end:
            demo.main()
        assert end.value.code == 2
        assert "--url and --token go together" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("error", "want", "said"),
        [
            (DemoFailed("the server ended at its start"), 1, "the server ended at its start"),
            (KeyboardInterrupt(), 130, ""),
        ],
    )
    def test_what_goes_wrong_is_a_sentence_and_ends_the_server(
        self,
        stage: Stage,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        error: BaseException,
        want: int,
        said: str,
    ) -> None:
        def chapter(_world: object) -> None:
            raise error

        monkeypatch.setattr(demo, "CHAPTERS", (chapter,))
        assert demo.main() == want
        assert said in capsys.readouterr().err
        assert stage.ended
