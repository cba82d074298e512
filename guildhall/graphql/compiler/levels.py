"""Levels as SELECTs, and the numbered parameters of a statement."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import JSON, FromClause, Join, Subquery, Table, literal_column, select

from guildhall.graphql.compiler.fragments import Fragment, clause_of
from guildhall.graphql.compiler.leaves import About, about
from guildhall.graphql.compiler.runs import Run
from guildhall.graphql.compiler.selects import Process, type_text
from guildhall.graphql.compiler.shapes import Level, RowValue, SlotPart, Value
from guildhall.graphql.compiler.texts import Constant, Given, Hole, Template, Written, named, template

Parameter = Callable[[Run, Sequence[Fragment]], Any]
"""Takes the value of one `$n` from a request and its fragments."""


class Parameters:
    """The parameters of a statement while it is written.

    `values` are the same for all requests; those that are `taken` from each stand there as None, by their place.
    """

    def __init__(self, fragments: Sequence[Fragment]) -> None:
        self.fragments = fragments
        self.values: list[Any] = []
        self.taken: list[tuple[int, Parameter]] = []
        self._bound: dict[str, str] = {}
        self._valued: dict[tuple[int, int, Process | None], str] = {}
        self._shared: list[tuple[Subquery, str]] = []

    def add(self, parameter: Parameter) -> str:
        """The `$n` of a new parameter."""
        self.taken.append((len(self.values), parameter))
        return self.constant(None)

    def text(self, text: str) -> str:
        """The `$n` of a text that is the same for all requests, but not ours."""
        if text not in self._bound:
            self._bound[text] = self.constant(text) + "::text"
        return self._bound[text]

    def constant(self, value: Any) -> str:  # noqa: ANN401 -- any value
        """The `$n` of a value that is the same for all requests."""
        self.values.append(value)
        return f"${len(self.values)}"

    def value(self, slot: int, place: int, process: Process | None = None) -> str:
        """The `$n` of a fragment's value."""

        def take(_run: Run, fragments: Sequence[Fragment]) -> Any:  # noqa: ANN401 -- any value
            found = fragments[slot].values[place]
            return found if process is None else process(found)

        key = (slot, place, process)
        if key not in self._valued:
            self._valued[key] = self.add(take)
        return self._valued[key]

    def filled(self, made: Template, slots: Sequence[int], **words: str) -> str:
        """A text whose fragments were those of these slots.

        Each value is taken from the slot that its clause is from, also where two slots have the same fragment: they
        have it for this request, and the statement is for all of its shape.
        """

        def fill(hole: Hole) -> str:
            match hole:
                case Given(fragment, place, process):
                    return self.value(slots[fragment], place, process)
                case Constant(value):
                    return self.constant(value)
                case _:
                    return words[hole.name]

        return made.filled(fill)

    def share(self, slot: int, place: int, name: str) -> str:
        """`name AS MATERIALIZED (SELECT …)`; the rows are called by their name until `unshare`."""
        fragment = self.fragments[slot]
        rows = fragment.parts["rows"][place]
        made = template(("rows", fragment.shape, place), rows, [fragment], lambda: Written(rows.element))
        text = self.filled(made, [slot])
        self._shared.append((rows, name))
        return f"{name} AS MATERIALIZED ({text})"

    def unshare(self, count: int) -> None:
        """Forget the last names: the same rows may stand in another list, where the name means nothing."""
        del self._shared[len(self._shared) - count :]

    def shared(self, rows: Any) -> str | None:  # noqa: ANN401 -- what a list's rows are found by
        """The name of rows that are read once for several places."""
        return next((name for known, name in self._shared if known is rows), None)


class Levels:
    """Writes the SELECTs of levels, and remembers what is known of their columns."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._fragments = parameters.fragments
        self._known: dict[tuple[str, str], About] = {}
        self._firsts: dict[str, str] = {}
        self._orders: dict[str, int] = {}

    def known(self, value: Value) -> About | None:
        """What is known of a column; None for a key of JSON."""
        return self._known[value.alias, value.column] if isinstance(value, RowValue) else None

    def places(self, level: Level) -> list[tuple[str, Any]]:
        """The columns of what a level is ordered by, each with its SQL type."""
        names = [f"o{index}" for index in range(self._orders[level.alias])]
        return [(f"{level.alias}.{name}", self._known[level.alias, name].type) for name in names]

    def rows(self, level: Level) -> str:
        """`(SELECT …) r1`, with all columns that were asked of it."""
        columns = list(level.columns.values())
        if level.placed:
            orders = self._ordered(level)
            self._orders[level.alias] = len(orders)
            columns += [(f"o{index}", made) for index, made in enumerate(orders)]
        text = self._select(level, columns)
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
        places = [place for place, each in enumerate(listed) if isinstance(each, Subquery)]
        names = []
        for place in places:
            assert level.listing is not None, "the rows are of its fragment"
            names.append(f"WITH {self._parameters.share(level.listing, place, f'{level.alias}f')} ")
        yield "".join(names)
        self._parameters.unshare(len(places))

    def counted(self, level: Level, maximum: int | None) -> str:
        """`SELECT count(*) …` of a level's rows, as far as the maximum allows."""
        text = self._select(level, [], listed=False)
        limit = "" if maximum is None else f" LIMIT {maximum + 1}"
        return f"SELECT count(*) FROM ({text}{limit}) {level.alias}"

    def fact(self, part: SlotPart) -> tuple[str, About]:
        """`SELECT … AS c` of a clause that a slot gave, and what is known of it."""
        fragment = self._fragments[part.slot]

        def written() -> Written:
            clause = fragment.one(part.part)
            return Written(select(clause.label("c")), about(clause))

        made = template(("fact", fragment.shape, part.part), None, [fragment], written)
        return self._parameters.filled(made, [part.slot]), made.about

    def limit(self, level: Level) -> str:
        """How many rows are fetched: with numbered ones, one more than the page has."""
        if isinstance(level.limit, int):
            return str(level.limit)
        return self.first(level) + (" + 1" if level.numbered else "")

    def first(self, level: Level) -> str:
        """The parameter of how many rows a page has."""
        read = level.limit
        assert callable(read), "a page's length comes from its argument"
        if level.alias not in self._firsts:
            self._firsts[level.alias] = self._parameters.add(lambda run, _fragments: read(run)) + "::bigint"
        return self._firsts[level.alias]

    def linked(self, value: Value, type_: Any) -> str:  # noqa: ANN401 -- a SQL type
        """A value of the object above, as the type of what it is compared with."""
        if isinstance(value, RowValue):
            return f"{value.alias}.{value.column}"
        return f"({value.value} ->> '{value.key}')::{type_text(type_)}"

    def _is_made(self, alias: str, name: str) -> bool:
        """Whether a column is JSON that was put together for this statement."""
        known = self._known[alias, name]
        return isinstance(known.type, JSON) and not known.plain

    def _select(self, level: Level, columns: Sequence[tuple[str, Any]], *, listed: bool = True) -> str:
        """`SELECT …` with these columns; unless `listed` without order, and from the first row.

        Rows that are joined in have names of SQLAlchemy's making, which it gives one after the other in a statement: of
        such a level no part is written alone.
        """
        slots = [slot for slot in (level.visible, level.listing) if slot is not None]
        words = {}
        if level.link is not None:
            words["above"] = self.linked(level.link.local, level.link.remote.type)
        listing = self._listing(level)
        rows = listing.parts.get("rows", ())
        if not rows and level.base is not None and _is_plain(level.base):
            texts = [f"{self._column(level, name, made)} AS {name}" for name, made in columns]
            around = self._around(level, slots, None, listed=listed)
            return self._parameters.filled(around, slots, **words, columns=", ".join(texts) or "1 AS one")
        shared = next((each for each in rows if self._parameters.shared(each) is not None), None)
        if shared is not None:
            words["shared"] = str(self._parameters.shared(shared))
        slots += [made.slot for _, made in columns if isinstance(made, SlotPart)]
        whole = self._around(level, slots, columns, listed=listed, shared=shared)
        for (name, _), known in zip(columns, whole.about, strict=True):
            self._known[level.alias, name] = known
        return self._parameters.filled(whole, slots, **words)

    def _column(self, level: Level, name: str, made: Any) -> str:  # noqa: ANN401 -- an expression, or the part of a slot
        """The text of one column."""
        base, slots = level.base, [made.slot] if isinstance(made, SlotPart) else []
        assert base is not None, "a level of rows that are found has no text of a part"

        def written() -> Written:
            clause = self._clause(made)
            statement = select(named("begin"), clause.label("c"), named("end")).select_from(base)
            return Written(statement, about(clause), between=("begin", "c", "end"))

        key = ("column", id(base), *self._key(made))
        found = template(key, (base, made), [self._fragments[slot] for slot in slots], written)
        self._known[level.alias, name] = found.about
        return self._parameters.filled(found, slots)

    def _around(
        self,
        level: Level,
        slots: Sequence[int],
        columns: Sequence[tuple[str, Any]] | None,
        *,
        listed: bool,
        shared: Subquery | None = None,
    ) -> Template:
        """The SELECT of a level, without `columns` as it stands around any."""

        def written() -> Written:
            clauses = [self._clause(made) for _, made in columns or ()]
            labelled = [clause.label(name) for clause, (name, _) in zip(clauses, columns or (), strict=True)]
            selected = [named("columns")] if columns is None else labelled or [literal_column("1").label("one")]
            statement = select(*selected).select_from(self._base(level)).where(*self._where(level))
            if listed:
                statement = statement.where(*self._listing(level).parts.get("after", ()))
                statement = statement.order_by(*self._order(level))
            return Written(statement, [about(clause) for clause in clauses], shared)

        remote = None if level.link is None else level.link.remote
        orders = [order.expression for order in level.order_by]
        holds = (level.base, remote, level.where, orders, columns)
        key = (
            "level",
            id(level.base),
            id(remote),
            *map(id, level.where),
            *((id(each.expression), each.descending) for each in level.order_by),
            "shapes",
            tuple(None if slot is None else self._fragments[slot].shape for slot in (level.visible, level.listing)),
            None if columns is None else tuple((name, *self._key(made)) for name, made in columns),
            shared is not None,
            listed,
        )
        return template(key, holds, [self._fragments[slot] for slot in slots], written)

    def _key(self, made: Any) -> tuple[Hashable, ...]:  # noqa: ANN401 -- an expression, or the part of a slot
        if isinstance(made, SlotPart):
            return self._fragments[made.slot].shape, made.part, made.place
        return (id(made),)

    def _clause(self, made: Any) -> Any:  # noqa: ANN401 -- same
        if isinstance(made, SlotPart):
            return self._fragments[made.slot].parts[made.part][made.place]
        return clause_of(made)

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
            clauses.insert(0, level.link.remote == named("above", level.link.remote.type))
        return clauses

    def _ordered(self, level: Level) -> list[Any]:
        """What a level is ordered by: expressions, or parts of its slot."""
        orders = self._listing(level).parts.get("orders")
        if orders is None or level.listing is None:
            return [order.expression for order in level.order_by]
        return [SlotPart(level.listing, "orders", place) for place in range(len(orders))]

    def _order(self, level: Level) -> list[Any]:
        listing = self._listing(level)
        directions = listing.notes if "orders" in listing.parts else [each.descending for each in level.order_by]
        clauses = map(self._clause, self._ordered(level))
        return [clause.desc() if down else clause.asc() for clause, down in zip(clauses, directions, strict=True)]


def _is_plain(base: FromClause) -> bool:
    """Whether a FROM has tables alone, whose names are their own."""
    if isinstance(base, Join):
        return _is_plain(base.left) and _is_plain(base.right)
    return isinstance(base, Table)
