"""How the story is told on a terminal: the line of a step, and the bar while it takes long."""

from io import StringIO

import pytest
from rich.console import Console

from demo import narrator
from demo.narrator import Narrator


def told_on(*, terminal: bool) -> tuple[Narrator, StringIO]:
    paper = StringIO()
    return Narrator(Console(file=paper, force_terminal=terminal, width=120, color_system=None)), paper


class TestStep:
    def test_says_who_what_how_at_what_cost_and_what_was_recorded(self) -> None:
        told, paper = told_on(terminal=False)
        with told.step("Mira", "publishes") as step:
            step.said, step.cost, step.recorded = "version 1", "0.5 credits", "registry:model:publish"
        assert paper.getvalue().startswith(" 1 Mira publishes → version 1 (0.5 credits, ")
        assert paper.getvalue().endswith("; recorded registry:model:publish)\n")

    def test_a_long_one_shows_a_bar_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(narrator, "BAR_AFTER_SECONDS", -1.0)
        told, paper = told_on(terminal=True)
        with told.step("Mira", "trains") as step:
            step.show(0.5, "halfway")
        assert "trains: halfway" in paper.getvalue()

    def test_a_short_one_shows_none(self) -> None:
        told, paper = told_on(terminal=True)
        with told.step("Mira", "trains") as step:
            step.show(0.5, "halfway")
        assert "halfway" not in paper.getvalue()
