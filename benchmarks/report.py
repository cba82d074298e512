"""What every benchmark ends with: a table for people, and `benchmarks/out/NAME.json` for programs.

A figure stands beside a peer's or a limit's, measured in the same run. `wanted` is the least ratio (or, where less is
better, the greatest) that the issue asks for; None where the figure only informs.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, ours and the peer's in the unit that `figure` names."""

    figure: str
    ours: float
    peer: float | None
    ratio: float | None
    wanted: float | None
    holds: bool | None


def at_least(figure: str, ours: float, peer: float, wanted: float | None = None) -> Figure:
    """A figure of which more is better, such as requests a second: `ours / peer` must reach `wanted`."""
    ratio = ours / peer
    return Figure(figure, ours, peer, ratio, wanted, None if wanted is None else ratio >= wanted)


def at_most(figure: str, ours: float, peer: float, wanted: float | None = None) -> Figure:
    """A figure of which less is better, such as the growth of a time: `ours / peer` must stay within `wanted`."""
    ratio = ours / peer
    return Figure(figure, ours, peer, ratio, wanted, None if wanted is None else ratio <= wanted)


def plain(figure: str, ours: float, peer: float | None = None) -> Figure:
    """A figure that only informs."""
    return Figure(figure, ours, peer, None if not peer else ours / peer, None, None)


def report(name: str, figures: Sequence[Figure], *, notes: Sequence[str] = (), whole: bool = True) -> bool:
    """Print and write the figures; whether all that were wanted hold. Those of a run that was stopped are printed."""
    table = Table(title=f"bench-{name}", title_justify="left")
    table.add_column("figure")
    for column in ("ours", "peer", "ratio", "wanted", "holds"):
        table.add_column(column, justify="right")
    for each in figures:
        holds = "" if each.holds is None else "yes" if each.holds else "NO"
        table.add_row(each.figure, *(_shown(value) for value in (each.ours, each.peer, each.ratio, each.wanted)), holds)
    console = Console(width=140)
    console.print(table)
    for note in notes:
        console.print(f"- {note}", soft_wrap=True)
    if not whole:
        return False
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(json.dumps([asdict(each) for each in figures], indent=1) + "\n", encoding="utf-8")
    return all(each.holds is not False for each in figures)


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3f}"
