"""What a subscription follows: something with a topic, of which the rows are looked at anew whenever it is noticed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from guildhall.graphql.context import Context

Position: TypeAlias = tuple[Any, ...]
"""How far somebody has followed, as plain values; its cursor is signed, so nobody else writes one."""


@dataclass(frozen=True)
class Change:
    """One thing to tell: the values of the payload's object, and the position after it."""

    values: Mapping[str, Any]
    position: Position


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is new after a position, in order. `more`: there is more to read at once; `ended`: no more comes.

    `seconds` is when to look again at the latest, where something changes by time alone.
    """

    changes: Sequence[Change]
    position: Position
    more: bool = False
    ended: bool = False
    seconds: float | None = None


class Following(ABC):
    """One thing that is followed, for one caller: `topic` wakes, `name` says what it is and binds its cursors."""

    name: str
    topic: str

    @abstractmethod
    async def require(self, context: Context) -> None:
        """Raise what the caller is told who may not, or no longer, follow it; asked first and after each new policy."""

    def place(self, context: Context) -> tuple[Any, ...]:
        """All that a look depends on besides its position: those for whom it is the same share one."""
        _ = context
        return (self.name,)

    @abstractmethod
    async def look(self, context: Context, position: Position | None) -> Look:
        """Read what is new; None is the beginning. What may be seen, and was not asked in `place`, is asked later."""
