"""What declared SQL may know of a request: who asks, and what exists for them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, false, literal_column, select

from guildhall.auth.actor import Actor
from guildhall.graphql import statements
from guildhall.graphql.context import Context
from guildhall.graphql.declarations import TypeDeclaration


class Viewing:
    """The caller, with the rules of all types: upper packages' too, which whoever declares the SQL need not know."""

    def __init__(self, context: Context, types: Mapping[str, TypeDeclaration]) -> None:
        self._context = context
        self._types = types

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return self._context.actor

    def exists(self, type_name: str, key: ColumnElement[Any], within: FromClause) -> ColumnElement[bool]:
        """Whether the object with that key, a column of `within`, is there for the caller."""
        target = self._types.get(type_name)
        if target is None or target.table is None:
            return false()
        own_key: Any = target.key
        found: Select[Any] = select(literal_column("1")).select_from(target.table)
        found = found.where(own_key == key, *statements.visible_clauses(target, self._context))
        return found.correlate(within).exists()
