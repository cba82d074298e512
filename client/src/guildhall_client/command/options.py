"""What several commands are asked with: kinds of values, and options that mean the same everywhere."""

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import click

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_SCALES = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[int]):
    """Seconds, written as 90s, 30m, 2h, 1h30m, 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Whole seconds, at least one."""
        if isinstance(value, int):
            return value
        match = _DURATION.fullmatch(str(value).replace(" ", ""))
        seconds = 0
        if match is not None:
            days, hours, minutes, rest = (int(part or 0) for part in match.groups())
            seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
        if seconds == 0:
            self.fail(f"{value!r} is no duration; write it as 90s, 30m, 2h, 1h30m or 7d.", param, ctx)
        return seconds


class Cores(click.FloatRange):
    """A number above zero that has an end."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Of the range also without what no JSON can carry."""
        cores = float(super().convert(value, param, ctx))
        if not math.isfinite(cores):
            self.fail(f"{value!r} is no number of cores; write it as 4 or 0.5.", param, ctx)
        return cores


class Size(click.ParamType[int]):
    """Bytes, written as 512MiB, 4G, 1.5GiB; G and GiB are both powers of 1024, as Kubernetes' users mean it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Whole bytes, at least one."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        count = int(float(match[1]) * 1024 ** _SCALES[match[2].upper()]) if match is not None else 0
        if count == 0:
            self.fail(f"{value!r} is no size; write it as 512MiB or 4G.", param, ctx)
        return count


class Moment(click.ParamType[str]):
    """A moment, written as 2026-11-21 or 2026-11-21T16:00 (UTC unless it says otherwise)."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """RFC 3339."""
        try:
            parsed = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no moment; write it as 2026-11-21 or 2026-11-21T16:00.", param, ctx)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).isoformat()


class Day(click.ParamType[str]):
    """A day, written as 2030-12-31."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401
        """RFC 3339's full-date."""
        try:
            return date.fromisoformat(str(value)).isoformat()
        except ValueError:
            self.fail(f"{value!r} is no day; write it as 2030-12-31.", param, ctx)


class Pair(click.ParamType[tuple[str, str]]):
    """NAME=VALUE."""

    name = "pair"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:  # noqa: ANN401
        """Name and value."""
        if isinstance(value, tuple):
            return value
        name, sign, rest = str(value).partition("=")
        if not sign or not name:
            self.fail(f"{value!r} is not NAME=VALUE.", param, ctx)
        return name, rest


DURATION = Duration()
CORES = Cores()
SIZE = Size()
MOMENT = Moment()
DAY = Day()
PAIR = Pair()

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def page_options(command: F) -> F:
    """`--limit` and `--after`, for lists."""
    command = click.option("--after", metavar="CURSOR", help="Go on after the end of an earlier page.")(command)
    limit = click.IntRange(1, 100)
    return click.option("--limit", type=limit, default=20, show_default=True, help="Rows of the page.")(command)


def choice(*values: str) -> click.Choice[str]:
    """One of the schema's enum values, written in any case."""
    return click.Choice(values, case_sensitive=False)
