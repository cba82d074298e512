"""A title and a text for people, from an event's kind and facts; one wording for the inbox, mail and webhooks.

Facts may be of an older release, so one that is missing is a question mark and never an error.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from guildhall.inbox.kinds import EventKind

TITLE_CHARACTERS_MAX = 200
_NAMES_SHOWN_MAX = 3
_DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Wording:
    """`title` is one line; `text` is plain text, and says what to do where there is something to do."""

    title: str
    text: str


def worded(kind: EventKind, facts: Mapping[str, Any]) -> Wording:
    """What people read of an event."""
    title, text = _SENTENCES[kind](_Facts(facts))
    line = " ".join(title.split())
    shown = line if len(line) <= TITLE_CHARACTERS_MAX else f"{line[: TITLE_CHARACTERS_MAX - 1]}…"
    return Wording(shown, text)


class _Facts(dict[str, Any]):
    """Facts by name; `?` for one that is not there."""

    def __missing__(self, _name: str) -> str:
        return "?"


_Sentences = Callable[[_Facts], tuple[str, str]]

_OUTCOMES = {
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELLED": "was cancelled",
    "TIMED_OUT": "ran out of time",
    "EXPIRED": "was not started in time",
}


def _job_ended(facts: _Facts) -> tuple[str, str]:
    outcome = _OUTCOMES.get(facts["state"], "ended")
    message = str(facts["message"])
    return f"Job {facts['job']} {outcome}", f"{message[:1].upper()}{message[1:]}; {facts['captured']} credits charged."


def _hold_released(facts: _Facts) -> tuple[str, str]:
    title = f"{facts['released']} credits of job {facts['job']} are free again"
    return title, f"Of the {facts['held']} credits that were held, {facts['captured']} were charged."


def _access_asked(facts: _Facts) -> tuple[str, str]:
    title = f"{facts['requester']} asks for access to {_names(facts)}"
    return title, f"For {facts['for']}, {_purpose(facts)}, {_duration(facts)}: {facts['justification']}"


def _access_decided(facts: _Facts) -> tuple[str, str]:
    if facts["state"] == "APPROVED":
        text = f"{facts['by']} approved it {_purpose(facts)}, until {_moment(facts['validTo'])}."
        return f"Access to {_names(facts)} is granted", _with_reason(text, facts)
    return f"Access to {_names(facts)} was refused", _with_reason(f"{facts['by']} refused it.", facts)


def _access_withdrawn(facts: _Facts) -> tuple[str, str]:
    return f"Access to {_names(facts)} was withdrawn", _with_reason(f"{facts['by']} ended it.", facts)


def _access_ends(facts: _Facts) -> tuple[str, str]:
    title = f"Access to {_names(facts)} ends at {_moment(facts['validTo'])}"
    return title, f"It is for {facts['for']}, {_purpose(facts)}. To renew it, ask for access again."


def _access_alert(facts: _Facts) -> tuple[str, str]:
    return f"Unusual reading of {facts['dataset']}", str(facts["message"])


def _allocation_ends(facts: _Facts) -> tuple[str, str]:
    title = f"{facts['remaining']} credits of {facts['team']} expire at {_moment(facts['validTo'])}"
    return title, f"They are for {facts['programme']}: spend them, send them to another team, or return them."


def _loosening_asked(facts: _Facts) -> tuple[str, str]:
    title = f"{facts['requester']} asks that {_names(facts)} be {facts['to']}"
    return title, f"It inherits more from data that you answer for. {facts['justification']}"


def _loosening_decided(facts: _Facts) -> tuple[str, str]:
    if facts["state"] == "APPROVED":
        text = f"{facts['by']} approved it, and everything made from it follows."
        return f"{_names(facts)} is {facts['to']}", _with_reason(text, facts)
    return f"{_names(facts)} is not {facts['to']}", _with_reason(f"{facts['by']} refused it.", facts)


def _loosening_withdrawn(facts: _Facts) -> tuple[str, str]:
    title = f"{_names(facts)} is no longer {facts['to']}"
    return title, _with_reason(f"{facts['by']} ended it: what it was made from restricts it again.", facts)


_SENTENCES: Mapping[EventKind, _Sentences] = {
    EventKind.JOB_ENDED: _job_ended,
    EventKind.HOLD_RELEASED: _hold_released,
    EventKind.ACCESS_ASKED: _access_asked,
    EventKind.ACCESS_DECIDED: _access_decided,
    EventKind.ACCESS_WITHDRAWN: _access_withdrawn,
    EventKind.ACCESS_ENDS: _access_ends,
    EventKind.ACCESS_ALERT: _access_alert,
    EventKind.ALLOCATION_ENDS: _allocation_ends,
    EventKind.LOOSENING_ASKED: _loosening_asked,
    EventKind.LOOSENING_DECIDED: _loosening_decided,
    EventKind.LOOSENING_WITHDRAWN: _loosening_withdrawn,
}


def _names(facts: _Facts) -> str:
    """The first few of what it is about, and how many more there are."""
    names = list(facts["resources"])
    more = len(names) - _NAMES_SHOWN_MAX
    return ", ".join(names[:_NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _purpose(facts: _Facts) -> str:
    return "for every permitted purpose" if facts["purpose"] is None else f"for the purpose {facts['purpose']}"


def _duration(facts: _Facts) -> str:
    seconds = facts["durationSeconds"]
    if not isinstance(seconds, int):
        return "for a time"
    if seconds >= _DAY_SECONDS:
        days = round(seconds / _DAY_SECONDS)
        return f"for {days} days" if days > 1 else "for a day"
    return f"for {max(1, round(seconds / 60))} minutes"


def _moment(written: object) -> str:
    """To the minute, as people read it; what is no moment stays as it is."""
    try:
        return f"{datetime.fromisoformat(str(written)):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return str(written)


def _with_reason(text: str, facts: _Facts) -> str:
    return f"{text} {facts['reason']}" if facts.get("reason") else text
