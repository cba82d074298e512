"""Who holds which role, in memory: immutable, in shards, so that a change copies little and everybody else's stays."""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from typing_extensions import override

from guildhall.auth.subjects import ActorKind, Subject

SHARDS = 4_096
"""A power of two. A change copies a list of as many, and the shards that it touches: 250 subjects each of a million."""

_HOLDERS = (ActorKind.USER, ActorKind.SERVICE_ACCOUNT)


@dataclass(frozen=True, slots=True)
class Binding:
    """A role of a subject in a team and those below it, or organisation-wide where `team_id` is None.

    Temporary where it has a beginning or an end.
    """

    role: str
    team_id: UUID | None
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def counts(self, at: datetime | None) -> bool:
        """Whether the role is held at that moment; without one, a temporary role is not."""
        if self.starts_at is None and self.ends_at is None:
            return True
        if at is None:
            return False
        return (self.starts_at is None or self.starts_at <= at) and (self.ends_at is None or at < self.ends_at)


_Shard = Mapping[Subject, tuple[Binding, ...]]


class BindingsOfSubjects(Mapping[Subject, tuple[Binding, ...]]):
    """The bindings of every active subject, by subject. `changed` makes another, which shares what stayed."""

    def __init__(self, shards: list[_Shard], boundaries: Mapping[int, list[datetime]]) -> None:
        self._shards = shards
        self._boundaries = boundaries  # of the shards that have any, sorted

    @classmethod
    def of(cls, bindings: Mapping[Subject, tuple[Binding, ...]]) -> "BindingsOfSubjects":
        """All of them."""
        return cls([{}] * SHARDS, {}).changed((), bindings)

    def changed(self, touched: Collection[UUID], now: Mapping[Subject, tuple[Binding, ...]]) -> "BindingsOfSubjects":
        """Those of the touched subjects as they are `now`; who is touched and not in `now` is not active any more."""
        shards = list(self._shards)
        fresh: dict[int, dict[Subject, tuple[Binding, ...]]] = {}

        def copy_of(key: UUID) -> dict[Subject, tuple[Binding, ...]]:
            place = _place(key)
            if place not in fresh:
                fresh[place] = dict(self._shards[place])
            return fresh[place]

        for key in touched:
            for kind in _HOLDERS:
                copy_of(key).pop(Subject(kind, key), None)
        for subject, held in now.items():
            copy_of(subject.id)[subject] = held
        boundaries = dict(self._boundaries)
        for place, shard in fresh.items():
            shards[place] = shard
            boundaries[place] = _boundaries(shard)
        return BindingsOfSubjects(shards, {place: moments for place, moments in boundaries.items() if moments})

    def boundaries_around(self, at: datetime | None) -> tuple[datetime | None, datetime | None]:
        """When a temporary role last began or ended, and when one next will; without a moment, the first there is."""
        since: datetime | None = None
        until: datetime | None = None
        for moments in self._boundaries.values():
            place = 0 if at is None else bisect_right(moments, at)
            if place and (since is None or moments[place - 1] > since):
                since = moments[place - 1]
            if place < len(moments) and (until is None or moments[place] < until):
                until = moments[place]
        return since, until

    def held_by(self, subject: Subject) -> tuple[Binding, ...] | None:
        """What `get` says, in half its time."""
        return self._shards[_place(subject.id)].get(subject)

    def some(self, maximum: int, turn: int) -> list[Subject]:
        """A few subjects, others at each turn, without a look at all of them."""
        found: list[Subject] = []
        for offset in range(SHARDS):
            shard = self._shards[(turn * maximum + offset) % SHARDS]
            if shard:
                found.append(sorted(shard)[turn % len(shard)])
            if len(found) == maximum:
                break
        return found

    @override
    def __getitem__(self, key: Subject) -> tuple[Binding, ...]:
        return self._shards[_place(key.id)][key]

    @override
    def __iter__(self) -> Iterator[Subject]:
        for shard in self._shards:
            yield from shard

    @override
    def __len__(self) -> int:
        return sum(map(len, self._shards))


def _place(key: UUID) -> int:
    return key.int & (SHARDS - 1)  # the last bits of a UUIDv7 are random


def _boundaries(shard: _Shard) -> list[datetime]:
    found = {
        moment
        for held in shard.values()
        for binding in held
        for moment in (binding.starts_at, binding.ends_at)
        if moment is not None
    }
    return sorted(found)
