"""The value of a GraphQL object between two levels: a type's name and the values that were loaded for it."""

from collections.abc import Mapping
from typing import Any


class Record:
    """One object of type `type_name`; `values` by label (from SQL) or by key (from JSON, a resolver, a mutation)."""

    __slots__ = ("type_name", "values")

    def __init__(self, type_name: str, values: Mapping[str, Any]) -> None:
        self.type_name = type_name
        self.values = values

    def __repr__(self) -> str:
        return f"Record({self.type_name!r}, {dict(self.values)!r})"
