"""What applying a configuration did to each thing that it names, and what differs in it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class ChangeAction(StrEnum):
    """What happened, or with `dryRun` would happen, to one named thing."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    REMOVED = "REMOVED"
    UNCHANGED = "UNCHANGED"


@dataclass(frozen=True)
class Difference:
    """A field as it was and as it is now, in words; None where there was nothing, or nothing is left."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Change:
    """One named thing of a configuration: `kind` is its word in the glossary, as "Team"."""

    kind: str
    name: str
    action: ChangeAction
    differences: tuple[Difference, ...] = ()


def compared(before: Mapping[str, object] | None, after: Mapping[str, object]) -> tuple[Difference, ...]:
    """The fields that differ, first those that were there; `before` is None for what is new."""
    was = before or {}
    told = [(field, in_words(was.get(field)), in_words(after.get(field))) for field in {**was, **after}]
    return tuple(Difference(field, old, new) for field, old, new in told if old != new)


def exchanged(field: str, before: Collection[str], after: Collection[str]) -> tuple[Difference, ...]:
    """What was taken out of a list, and what was put in, each by itself."""
    gone = [Difference(field, each, None) for each in before if each not in after]
    return (*gone, *(Difference(field, None, each) for each in after if each not in before))


def in_words(value: object) -> str | None:
    """A value as a file says it, moments in UTC; None for what says nothing."""
    if value is None or value in ("", [], (), {}):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return " ".join(f"{name}={in_words(each)}" for name, each in value.items() if each is not None)
    if isinstance(value, list | tuple):
        return ", ".join(in_words(each) or "" for each in value)
    return str(value)
