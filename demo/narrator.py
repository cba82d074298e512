"""How the story is told: one line a step with its cost and its record, a bar while something takes long."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

BAR_AFTER_SECONDS = 2.0


@dataclass
class Step:
    """What a step has to say for itself when it is done."""

    said: str = ""
    cost: str = "no credits"
    recorded: str = ""
    show: Callable[[float, str], None] = field(default=lambda _fraction, _message: None)


class Narrator:
    """Prints to a console; a test gives it one that keeps quiet."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._console.print(f"\n[bold]{title}[/bold]")

    @contextmanager
    def step(self, who: str, what: str) -> Iterator[Step]:
        """Tell one step: who does what, then how it went. A bar appears once it takes longer than two seconds."""
        self._number += 1
        begun = time.monotonic()
        step = Step()
        with self._bar(step, what, begun):
            yield step
        spent = f"{step.cost}, {time.monotonic() - begun:.1f} s"
        recorded = f"; recorded {step.recorded}" if step.recorded else ""
        said = f" → {step.said}" if step.said else ""
        self._console.print(
            f"[dim]{self._number:>2}[/dim] [cyan]{who}[/cyan] {what}{said} [dim]({spent}{recorded})[/dim]",
            highlight=False,
            soft_wrap=True,
        )

    def table(self, title: str, headings: list[str], rows: list[list[str]]) -> None:
        """Print a table of answers."""
        table = Table(*headings, title=title, title_justify="left", title_style="bold", box=SIMPLE, pad_edge=False)
        for row in rows:
            table.add_row(*row)
        self._console.print()
        self._console.print(table)

    def line(self, text: str) -> None:
        """Print a plain line; a terminal breaks it where it is too long."""
        self._console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def _bar(self, step: Step, what: str, begun: float) -> Iterator[None]:
        if not self._console.is_terminal:
            yield
            return
        columns: list[Any] = [SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(what, total=1.0, visible=False)

            def show(fraction: float, message: str) -> None:
                visible = time.monotonic() - begun > BAR_AFTER_SECONDS
                progress.update(task, completed=fraction, description=f"{what}: {message}", visible=visible)

            step.show = show
            yield
