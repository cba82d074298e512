"""What goes to standard output: tables for people, JSON for programs; and sentences on standard error."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from guildhall_client.command.printable import printable

UNTRIMMED_COLUMNS = 10_000
"""Into a pipe or a file a table is as wide as it is: a program that cuts cells off would be lying."""

_IDS = frozenset({"JOB", "REQUEST", "GRANT", "NOTIFICATION", "LOOSENING"})
"""Columns of what is given to other commands: broken over lines it could not be copied."""

_STATE_STYLES = {
    "SUCCEEDED": "green", "PUBLISHED": "green", "READY": "green", "APPROVED": "green", "RUNNING": "cyan",
    "STARTING": "cyan", "QUEUED": "yellow", "ADMITTED": "yellow", "PENDING": "yellow", "STOPPING": "yellow",
    "FAILED": "red", "BLOCKED": "red", "REFUSED": "red", "TIMED_OUT": "red", "EXPIRED": "red", "CANCELLED": "magenta",
}  # fmt: skip


def print_json(value: Any) -> None:  # noqa: ANN401 -- any JSON
    """One JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """Rows under headings; `empty` is said on standard error where there is none."""
    table = _table(columns, rows)
    if table.row_count:
        _print(table)
    else:
        note(empty)


def redraws() -> bool:
    """Whether standard output is a terminal on which a table can take the place of the one before."""
    # Not the console's word alone: FORCE_COLOR has it say so of a pipe.
    return sys.stdout.isatty() and not Console().is_dumb_terminal


@contextmanager
def drawn() -> Iterator[Callable[[Sequence[str], Iterable[Sequence[Any]], str], None]]:
    """What draws a table over the last one; where it has no rows, the sentence in its place. The last one stays."""
    with Live(console=Console(highlight=False, markup=False, emoji=False), auto_refresh=False) as live:

        def draw(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
            table = _table(columns, rows)
            live.update(table if table.row_count else Text(empty), refresh=True)

        yield draw


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one under the other; what has no value is left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value not in (None, "", []):
            table.add_row(name, _cell(value))
    _print(table)


def print_heading(text: str) -> None:
    """What the next table is about."""
    _print(Text(f"\n{printable(text)}", style="bold"))


def print_line(text: str, style: str = "") -> None:
    """One line of a log, or a result."""
    _print(Text(printable(text), style=style))


def note(text: str) -> None:
    """A sentence for the person, on standard error, where it disturbs no program."""
    # Not by a console, which ends the process by itself where the pipe is closed.
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def moment(value: str | None) -> str:
    """A moment as people read it, in UTC as everywhere in Guildhall."""
    if value is None:
        return ""
    try:
        return datetime.fromisoformat(value).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return value


def span(seconds: int) -> str:
    """A duration as it may be typed."""
    parts = []
    for size, letter in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{letter}")
    return " ".join(parts) or "0s"


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("the last unit takes every amount")


def file_count(count: int) -> str:
    """A number of files as people read it."""
    return "1 file" if count == 1 else f"{count} files"


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _IDS)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: Any) -> Text:  # noqa: ANN401 -- whatever an answer holds
    text = "" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return Text(printable(text), style=_STATE_STYLES.get(text, ""))


def _print(renderable: Any) -> None:  # noqa: ANN401 -- whatever rich can render
    """Without the blanks by which rich fills up a line; and a closed pipe is ours to tell, see `main`."""
    on_terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not on_terminal,
        width=None if on_terminal else UNTRIMMED_COLUMNS,
    )
    with console.capture() as captured:
        console.print(renderable)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    sys.stdout.flush()
