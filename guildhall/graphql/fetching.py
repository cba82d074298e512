"""Where compiled documents run their statements: on kept connections, and for remembered callers under proof."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from guildhall.auth.standing import Standing
from guildhall.db.kept_statements import KeptStatements, KeptTransaction
from guildhall.errors import Unavailable
from guildhall.graphql.compiler.runs import FallBack


class NotStanding(Exception):
    """The caller is no longer who they were: they have to be identified again. Nothing was read for them."""


class StatementFailed(Exception):
    """The database could not serve the statement; asking graphql-core would only ask it again."""

    def __init__(self, error: Unavailable) -> None:
        super().__init__(error.message)
        self.error = error


class StatementSource:
    """The statements of one answer, each by itself or in a transaction that also records what they read.

    With a `standing`, each of them first asks whether the caller stands as before.
    """

    def __init__(self, statements: KeptStatements | KeptTransaction, at: datetime, standing: Standing | None) -> None:
        self._statements = statements
        self._at = at
        self._standing = standing

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> str | None:
        """The one text that a statement returns; raises NotStanding, StatementFailed, or FallBack for a wrong value."""
        try:
            if self._standing is None:
                row = await self._statements.fetch(sql, arguments)
                return None if row is None else row[0]
            row = await self._statements.fetch(*self._standing.guard(sql, arguments, self._at))
        except Unavailable as error:
            raise StatementFailed(error) from error
        except (asyncpg.DataError, asyncpg.CardinalityViolationError) as error:
            raise FallBack from error
        if row is None or not row[0]:
            raise NotStanding
        text: str | None = row[1]
        return text
