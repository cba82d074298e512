"""What all have in common who strew rows about: one draw, one moment, and people, words and times to draw from."""

import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from guildhall.auth.tables import Team, User
from guildhall.clock import new_id
from guildhall.db.base import Base
from guildhall.db.transaction import WriteSession

WORDS = ("gauge", "digit", "weld", "bearing", "pump", "“quoted”", "back\\slash", "naïve", "snow ☃", "tab\tand\nline")


class Strewing:
    """Drawn by a seed. Straight into the tables, so that there is also what no caller could make in one afternoon."""

    def __init__(self, session: WriteSession, seed: int, at: datetime) -> None:
        self._session = session
        self._random = random.Random(seed)
        self._at = at
        self._teams: list[UUID] = []
        self._people: list[UUID] = []

    async def _meet(self) -> None:
        """The teams and people that there are by now."""
        self._teams = list(await self._session.scalars(select(Team.id).order_by(Team.id)))
        self._people = list(await self._session.scalars(select(User.id).order_by(User.id)))

    async def _add(self, *rows: Any) -> None:
        """In this order, whatever the mapper would make of it."""
        self._session.add_all(rows)
        await self._session.flush()

    async def _again(self, table: type[Base], key: UUID, changed: Mapping[str, Any]) -> UUID:
        """A row of the story once more under an id of its own, with some values changed (as JSON has them)."""
        name, made = table.__tablename__, new_id()
        statement = text(
            f"INSERT INTO {name} SELECT (jsonb_populate_record({name}, cast(:given AS jsonb))).* FROM {name} "
            "WHERE id = :key"
        )
        given = json.dumps({"id": made, **changed}, default=str)
        await self._session.execute(statement, {"given": given, "key": key})
        return made

    def _moment(self) -> datetime:
        """In the past, some at the very same moment, and some between two milliseconds."""
        draw = self._random
        return self._at - timedelta(
            minutes=draw.choice((60, 60, draw.randint(1, 10**5))), microseconds=draw.choice((0, 7))
        )

    def _text(self) -> str:
        return " ".join(self._random.choice(WORDS) for _ in range(self._random.randint(1, 5)))
