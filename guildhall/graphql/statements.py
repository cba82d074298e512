"""The statements of one level: objects by key, short lists and pages for many parents at once, counts.

Every statement carries the target's own `visible` predicate, so a row that the caller may not see does not exist in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    Select,
    UnaryExpression,
    and_,
    any_,
    bindparam,
    column,
    false,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.operators import desc_op

from guildhall.auth.permissions import PERMISSIONS
from guildhall.graphql.context import Context
from guildhall.graphql.declarations import TypeDeclaration
from guildhall.graphql.sources import Expression, Table, Where

JOINED_MAX = 1_000
"""More than there are declarations."""


@dataclass(frozen=True)
class Listing:
    """The rows of one list before paging: where they come from, and in which order. `remote` None: no parent."""

    base: FromClause
    remote: Expression | None
    where: Sequence[ColumnElement[bool]]
    order_by: "Sequence[Order]" = field(default_factory=list)


@dataclass(frozen=True)
class Order:
    """One order expression, free of NULLs, and its direction; whether the table is partitioned by it."""

    expression: ColumnElement[Any]
    descending: bool
    partitioned: bool = False


def read_order(expression: Any) -> Order:  # noqa: ANN401 -- a column, an expression, or one with .desc()
    """Take the direction off an expression such as `Model.created_at.desc()`."""
    if isinstance(expression, Order):
        return expression
    clause = getattr(expression, "__clause_element__", lambda: expression)()
    if isinstance(clause, UnaryExpression) and clause.modifier is not None:
        return Order(clause.element, clause.modifier is desc_op)
    return Order(clause, descending=False)


def visible_clauses(target: TypeDeclaration, context: Context) -> list[ColumnElement[bool]]:
    """The predicate of the target's type for this caller; a node without one exists for who holds its permission."""
    if target.visible is not None:
        return [target.visible(context.actor)]
    permission = target.permission
    if not target.is_node or permission is None or permission not in PERMISSIONS:  # the markers are no permissions
        return []
    return [] if context.actor.may_somewhere(permission) else [false()]


def where_clauses(where: Where, context: Context) -> list[ColumnElement[bool]]:
    """A declared WHERE, which may depend on the request."""
    return list(where(context) if callable(where) else where)


@lru_cache(maxsize=JOINED_MAX)
def joined(base: FromClause, through: tuple[Table, ColumnElement[bool]] | None) -> FromClause:
    """The target's table with a table of pairs beside it; always the same one of the same declaration."""
    if through is None:
        return base
    table, clause = through
    return base.join(table if isinstance(table, FromClause) else table.__table__, clause)


def by_key(
    target: TypeDeclaration,
    remote: Expression,
    columns: Sequence[ColumnElement[Any]],
    keys: Sequence[Any],
    context: Context,
) -> Select[Any]:
    """(key, columns…) of the visible rows whose `remote` is one of the keys."""
    assert target.table is not None, f"{target.name} has no table to be loaded from"
    wanted = _array(remote, keys)
    return (
        select(remote, *columns)
        .select_from(target.table)
        .where(remote == any_(wanted), *visible_clauses(target, context))
    )


def by_clauses(
    target: TypeDeclaration,
    columns: Sequence[ColumnElement[Any]],
    clauses: Iterable[ColumnElement[bool]],
    context: Context,
) -> Select[Any]:
    """(columns…) of the first visible row that the clauses find; two are fetched, so that ambiguity is noticed."""
    assert target.table is not None, f"{target.name} has no table to be loaded from"
    statement = select(*columns) if columns else select(literal(1))
    return statement.select_from(target.table).where(*clauses, *visible_clauses(target, context)).limit(2)


def rows_of(
    listing: Listing, columns: Sequence[ColumnElement[Any]], keys: Sequence[Any] | None, limit: int
) -> Select[Any]:
    """(parent's key, columns…) of at most `limit` rows for each parent, in order; without `keys` one list, key NULL."""
    orders = [order.expression.desc() if order.descending else order.expression.asc() for order in listing.order_by]
    if keys is None:
        return (
            select(literal(None), *columns)
            .select_from(listing.base)
            .where(*listing.where)
            .order_by(*orders)
            .limit(limit)
        )
    assert listing.remote is not None, "a list with parents says which column holds their key"
    parents = _parents(listing.remote, keys)
    labelled = [expression.label(f"c{index}") for index, expression in enumerate(columns)]
    child = (
        select(*labelled, func.row_number().over(order_by=orders).label("place"))
        .select_from(listing.base)
        .where(listing.remote == parents.c.key, *listing.where)
        .order_by(*orders)
        .limit(limit)
        .lateral("child")
    )
    found = [child.c[label.name] for label in labelled]
    return select(parents.c.key, *found).select_from(parents.join(child, true())).order_by(parents.c.key, child.c.place)


def count_of(listing: Listing, keys: Sequence[Any] | None, maximum: int | None) -> Select[Any]:
    """(parent's key, number of rows), counting no further than `maximum` + 1 where one is given."""
    rows = select(literal(1).label("one")).select_from(listing.base).where(*listing.where)
    if keys is None:
        if maximum is not None:
            rows = rows.limit(maximum + 1)
        columns: list[ColumnElement[Any]] = [literal(None), func.count()]
        return select(*columns).select_from(rows.subquery("counted"))
    assert listing.remote is not None, "a list with parents says which column holds their key"
    parents = _parents(listing.remote, keys)
    rows = rows.where(listing.remote == parents.c.key)
    if maximum is not None:
        rows = rows.limit(maximum + 1)
    counted = (
        select(func.count().label("rows")).select_from(rows.correlate(parents).subquery("counted")).lateral("total")
    )
    return select(parents.c.key, counted.c.rows).select_from(parents.join(counted, true()))


def after_clause(orders: Sequence[Order], values: Sequence[Any]) -> ColumnElement[bool]:
    """The rows that come after the one with these order values."""
    assert len(orders) == len(values), "a cursor holds one value for each order"
    bound = [literal(value, order.expression.type) for order, value in zip(orders, values, strict=True)]
    expressions = [order.expression for order in orders]
    if len({order.descending for order in orders}) == 1:  # one comparison of rows can use one index
        if orders[0].partitioned:
            return _after_in_partitions(orders, values)
        left, right = tuple_(*expressions), tuple_(*bound)
        return left < right if orders[0].descending else left > right
    steps = []
    for index, order in enumerate(orders):
        equal = [expressions[place] == bound[place] for place in range(index)]
        beyond = expressions[index] < bound[index] if order.descending else expressions[index] > bound[index]
        steps.append(and_(*equal, beyond))
    return or_(*steps)


def _after_in_partitions(orders: Sequence[Order], values: Sequence[Any]) -> ColumnElement[bool]:
    """The same, by a limit of the first order alone: a comparison of rows leaves no partition out.

    Not both, or the planner would take the rows that are left for fewer than they are.
    """
    first, rest = orders[0], orders[1:]
    limit, same = (literal(values[0], first.expression.type) for _ in range(2))
    within = first.expression <= limit if first.descending else first.expression >= limit
    return and_(within, or_(first.expression != same, after_clause(rest, values[1:])))


def _parents(remote: Expression, keys: Sequence[Any]) -> Any:  # noqa: ANN401 -- a table valued alias
    return func.unnest(_array(remote, keys)).table_valued(column("key", remote.type), name="parent").render_derived()


def _array(remote: Expression, keys: Sequence[Any]) -> ColumnElement[Any]:
    return bindparam("keys", list(keys), type_=ARRAY(remote.type), unique=True)
