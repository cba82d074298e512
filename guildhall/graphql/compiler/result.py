r"""The text that a statement returned, made an answer: its marks are replaced, or tell that it is none.

A mark is `\x01`, a letter, what belongs to it, `\x02`; no JSON text holds these characters. `!` is a mistake that
graphql-core must word. `c` is a cursor to be signed, `a` asks whether the cursor of a page belongs to its list, `r`
names a record that was read. A text without marks is the answer as it is.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Date, DateTime, Float, Integer, Numeric, Uuid

from guildhall.graphql.compiler.fragments import Fragment
from guildhall.graphql.compiler.plan import Plan
from guildhall.graphql.compiler.runs import FallBack, Run
from guildhall.graphql.cursors import InvalidCursor
from guildhall.graphql.pages import list_orders
from guildhall.graphql.recording import Reads
from guildhall.graphql.sources import Scope

_MARK = re.compile("\x01(.)([^\x02]*)\x02")


class Finisher:
    """Finishes one text; `reads` holds afterwards what is to be recorded before it leaves."""

    def __init__(self, plan: Plan, run: Run, fragments: Sequence[Fragment]) -> None:
        self._plan = plan
        self._run = run
        self._fragments = fragments
        self.reads = Reads()
        self._bindings: dict[tuple[str, str], bytes] = {}

    def finish(self, text: str) -> str:
        """The JSON text; raises FallBack where graphql-core must answer."""
        return _MARK.sub(self._replace, text) if "\x01" in text else text

    def _replace(self, mark: re.Match[str]) -> str:
        letter, rest = mark[1], mark[2]
        match letter:
            case "c":
                return self._signed(rest)
            case "a":
                return self._checked(rest)
            case "r":
                return self._noted(rest)
            case _:
                raise FallBack

    def _signed(self, rest: str) -> str:
        site, parent, values = rest.split("|", 2)
        read = [
            reader(value)
            for reader, value in zip(self._readers(int(site)), json.loads(values, parse_float=Decimal), strict=True)
        ]
        return f'"{self._run.context.signer.sign(self._binding(site, parent), read)}"'

    def _checked(self, rest: str) -> str:
        site, parent = rest.split("|", 1)
        after = self._run.arguments(self._plan.sites[int(site)].call).get("after")
        if after is not None:
            try:
                self._run.context.signer.open(self._binding(site, parent), after)
            except InvalidCursor as error:
                raise FallBack from error
        return ""

    def _noted(self, rest: str) -> str:
        number, keys = rest.split("|", 1)
        permission, recorded = self._plan.records[int(number)]
        self.reads.note(permission, recorded, [UUID(key) for key in keys.split(",")])
        return ""

    def _binding(self, site: str, parent: str) -> bytes:
        found = self._bindings.get((site, parent))
        if found is None:
            found = self._plan.sites[int(site)].binding(self._run, parent)
            self._bindings[site, parent] = found
        return found

    def _readers(self, site: int) -> list[Callable[[Any], Any]]:
        listing = self._plan.sites[site]
        slot = next((number for number, source in enumerate(self._plan.slots) if source is listing), None)
        if slot is None:
            clauses = [order.expression for order in list_orders(listing.source, listing.target, Scope(), None)]
        else:
            clauses = list(self._fragments[slot].parts["orders"])
        return [_reader(clause.type) for clause in clauses]


def _reader(type_: Any) -> Callable[[Any], Any]:  # noqa: ANN401 -- a SQL type
    """From PostgreSQL's JSON of a value to what the driver gives for it, so that both sign the same."""
    for kind, reader in _READERS:
        if isinstance(type_, kind):
            return reader
    return _same


def _same(value: Any) -> Any:  # noqa: ANN401
    return value


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)


_READERS: tuple[tuple[type[Any], Callable[[Any], Any]], ...] = (
    (DateTime, _moment), (Date, date.fromisoformat), (Uuid, UUID), (Float, float), (Numeric, Decimal), (Integer, int),
)  # fmt: skip
