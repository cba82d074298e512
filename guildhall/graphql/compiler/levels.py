"""Levels as SELECTs, and the numbered parameters of a statement."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import JSON, BindParameter, Subquery, literal_column, select

from guildhall.graphql.compiler.fragments import Fragment, clause_of
from guildhall.graphql.compiler.leaves import About, about
from guildhall.graphql.compiler.runs import Run
from guildhall.graphql.compiler.selects import Process, select_text, type_text
from guildhall.graphql.compiler.shapes import Level, RowValue, SlotPart, Value

Parameter = Callable[[Run, Sequence[Fragment]], Any]
"""Takes the value of one `$n` from a request and its fragments."""


class Parameters:
    """The parameters of a statement while it is written."""

    def __init__(self, fragments: Sequence[Fragment]) -> None:
        self.fragments = fragments
        self.taken: list[Parameter] = []
        self._places = {
            id(bind): (slot, place) for slot, made in enumerate(fragments) for place, bind in enumerate(made.binds)
        }
        self._bound: dict[str, str] = {}
        self._valued: dict[tuple[int, int, Process | None], str] = {}
        self._shared: list[tuple[Subquery, str]] = []

    def add(self, parameter: Parameter) -> str:
        """The `$n` of a new parameter."""
        self.taken.append(parameter)
        return f"${len(self.taken)}"

    def text(self, text: str) -> str:
        """The `$n` of a text that is the same for all requests, but not ours."""
        if text not in self._bound:
            self._bound[text] = self.constant(text) + "::text"
        return self._bound[text]

    def constant(self, value: Any) -> str:  # noqa: ANN401 -- any value
        """The `$n` of a value that is the same for all requests."""
        return self.add(lambda _run, _fragments: value)

    def value(self, slot: int, place: int, process: Process | None = None) -> str:
        """The `$n` of a fragment's value."""

        def take(_run: Run, fragments: Sequence[Fragment]) -> Any:  # noqa: ANN401 -- any value
            found = fragments[slot].values[place]
            return found if process is None else process(found)

        key = (slot, place, process)
        if key not in self._valued:
            self._valued[key] = self.add(take)
        return self._valued[key]

    def place(self, bind: BindParameter[Any], process: Process | None) -> str | None:
        """The `$n` of a fragment's bind; None for one that a declaration fixes."""
        for original in (bind, *bind._cloned_set):  # noqa: SLF001 -- SQLAlchemy copies binds while it compiles
            found = self._places.get(id(original))
            if found is not None:
                return self.value(*found, process)
        return None

    def share(self, rows: Subquery, name: str) -> str:
        """`name AS MATERIALIZED (SELECT …)`; the rows are called by their name until `unshare`."""
        text = select_text(rows.element, self)
        self._shared.append((rows, name))
        return f"{name} AS MATERIALIZED ({text})"

    def unshare(self, count: int) -> None:
        """Forget the last names: the same rows may stand in another list, where the name means nothing."""
        del self._shared[len(self._shared) - count :]

    def shared(self, rows: Subquery) -> str | None:
        """The name of rows that are read once for several places."""
        return next((name for known, name in self._shared if known is rows), None)


class Levels:
    """Writes the SELECTs of levels, and remembers what is known of their columns."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._fragments = parameters.fragments
        self._known: dict[tuple[str, str], About] = {}
        self._orders: dict[str, int] = {}

    def known(self, value: Value) -> About | None:
        """What is known of a column; None for a key of JSON."""
        return self._known[value.alias, value.column] if isinstance(value, RowValue) else None

    def clause(self, part: SlotPart) -> Any:  # noqa: ANN401 -- a clause
        """A clause that a slot gave."""
        return self._fragments[part.slot].one(part.part)

    def places(self, level: Level) -> list[str]:
        """The columns of what a level is ordered by."""
        return [f"{level.alias}.o{index}" for index in range(self._orders[level.alias])]

    def rows(self, level: Level) -> str:
        """`(SELECT …) r1`, with all columns that were asked of it."""
        columns = []
        for name, made in level.columns.values():
            clause = self.clause(made) if isinstance(made, SlotPart) else clause_of(made)
            self._known[level.alias, name] = about(clause)
            columns.append(clause.label(name))
        orders, directions = self._order(level)
        if level.placed:
            self._orders[level.alias] = len(orders)
            columns += [clause.label(f"o{index}") for index, clause in enumerate(orders)]
        listing = self._listing(level)
        statement = select(*(columns or [literal_column("1").label("one")])).select_from(self._base(level))
        statement = statement.where(*self._where(level), *listing.parts.get("after", ()))
        statement = statement.order_by(
            *(clause.desc() if down else clause.asc() for clause, down in zip(orders, directions, strict=True))
        )
        text = select_text(statement, self._parameters)
        if level.limit is not None:
            text += f" LIMIT {self.limit(level)}"
        elif any(self._is_made(level.alias, name) for name, _ in level.columns.values()):
            text += " OFFSET 0"  # or PostgreSQL writes the expression wherever a part of its JSON is taken
        if level.numbered:
            text = f"SELECT q.*, row_number() OVER () AS n, count(*) OVER () AS total FROM ({text}) q"
        return f"({text}) {level.alias}"

    @contextmanager
    def shared(self, level: Level, *, wanted: bool) -> Iterator[str]:
        """`WITH …` for a list that is read and counted, where finding its rows is more than reading a table."""
        listed = self._listing(level).parts.get("rows", ()) if wanted else ()
        rows = [each for each in listed if isinstance(each, Subquery)]
        yield "".join(f"WITH {self._parameters.share(each, f'{level.alias}f')} " for each in rows)
        self._parameters.unshare(len(rows))

    def counted(self, level: Level, maximum: int | None) -> str:
        """`SELECT count(*) …` of a level's rows, as far as the maximum allows."""
        one: Any = literal_column("1").label("one")
        statement = select(one).select_from(self._base(level)).where(*self._where(level))
        text = select_text(statement, self._parameters)
        limit = "" if maximum is None else f" LIMIT {maximum + 1}"
        return f"SELECT count(*) FROM ({text}{limit}) {level.alias}"

    def _is_made(self, alias: str, name: str) -> bool:
        """Whether a column is JSON that was put together for this statement."""
        known = self._known[alias, name]
        return isinstance(known.type, JSON) and not known.plain

    def limit(self, level: Level) -> str:
        """How many rows are fetched: with numbered ones, one more than the page has."""
        if isinstance(level.limit, int):
            return str(level.limit)
        return self.first(level) + (" + 1" if level.numbered else "")

    def first(self, level: Level) -> str:
        """The parameter of how many rows a page has."""
        read = level.limit
        assert callable(read), "a page's length comes from its argument"
        return self._parameters.add(lambda run, _fragments: read(run)) + "::bigint"

    def _listing(self, level: Level) -> Fragment:
        return Fragment() if level.listing is None else self._fragments[level.listing]

    def _base(self, level: Level) -> Any:  # noqa: ANN401 -- a FROM
        joined = self._listing(level).parts.get("rows", ())
        if not joined:
            return level.base
        (rows,) = joined
        return (
            rows if level.base is None or level.target is None else level.base.join(rows, rows.c.id == level.target.key)
        )

    def _where(self, level: Level) -> list[Any]:
        clauses = [*level.where, *self._listing(level).parts.get("where", ())]
        if level.visible is not None:
            clauses += self._fragments[level.visible].parts.get("where", ())
        if level.link is not None:
            remote = level.link.remote
            clauses.insert(0, remote == literal_column(self.linked(level.link.local, remote.type), remote.type))
        return clauses

    def linked(self, value: Value, type_: Any) -> str:  # noqa: ANN401 -- a SQL type
        """A value of the object above, as the type of what it is compared with."""
        if isinstance(value, RowValue):
            return f"{value.alias}.{value.column}"
        return f"({value.value} ->> '{value.key}')::{type_text(type_)}"

    def _order(self, level: Level) -> tuple[list[Any], list[bool]]:
        listing = self._listing(level)
        if "orders" in listing.parts:
            return list(listing.parts["orders"]), list(listing.notes)
        return [order.expression for order in level.order_by], [order.descending for order in level.order_by]
