"""The links around a version as one SQL expression, which never goes through what does not exist for the caller."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    and_,
    case,
    cast,
    false,
    func,
    literal_column,
    null,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

from registry.lineage.tables import LineageEdge, NodeKind
from registry.lineage.walking import DEPTH_MAX, EDGES_MAX, Direction

LINK = ("kind", "basis", "from_kind", "from_id", "to_kind", "to_id")
"""What is told of a link."""

Exists = Callable[[NodeKind, ColumnElement[Any], FromClause], ColumnElement[bool]]
"""Whether the thing of that kind, whose id is a column of the FROM, exists for the caller."""


def links_around(
    root: Any,  # noqa: ANN401 -- the column of a version's id
    *,
    direction: Direction,
    depth: int,
    first: int,
    exists: Exists,
) -> ColumnElement[Any]:
    """`{"complete", "links": [{kind, basis, from_kind, from_id, to_kind, to_id}]}` as JSON, nearest first.

    Complete is a walk from which nothing was withheld and nothing cut: not by `depth`, `first` or EDGES_MAX.
    """
    assert 0 < depth <= DEPTH_MAX, f"a walk takes 1 to {DEPTH_MAX} steps"
    walked = _walked(root, direction=direction, depth=depth, exists=exists)
    within = and_(walked.c.seen, walked.c.distance <= depth)
    # What is not told comes last, and one more than is told: it says that the walk was cut.
    order = (within.desc(), walked.c.distance, walked.c.id)
    nearest = select(walked, within.label("within")).order_by(*order).limit(first + 1).subquery("nearest")
    pairs = [part for name in LINK for part in (literal_column(f"'{name}'"), nearest.c[name])]
    told = func.jsonb_agg(func.jsonb_build_object(*pairs), type_=JSONB).filter(nearest.c.within)
    links = func.coalesce(told, literal_column("'[]'::jsonb")).op("-")(first)
    complete = and_(func.coalesce(func.bool_and(nearest.c.within), true()), func.count() <= min(first, EDGES_MAX))
    found = func.jsonb_build_object(
        literal_column("'complete'"), complete, literal_column("'links'"), links, type_=JSONB
    )
    return select(found).select_from(nearest).correlate(root.table).scalar_subquery()


def _walked(root: Any, *, direction: Direction, depth: int, exists: Exists) -> FromClause:  # noqa: ANN401
    """The links within `depth` steps and those one step beyond, each once, with the step that leads over it first."""
    edge = LineageEdge.__table__.alias("edge")
    near, far = (edge.c.from_id, edge.c.to_id) if direction is Direction.UPSTREAM else (edge.c.to_id, edge.c.from_id)
    far_kind = edge.c.to_kind if direction is Direction.UPSTREAM else edge.c.from_kind
    seen = case(*((far_kind == kind.value, exists(kind, far, edge)) for kind in NodeKind), else_=false())
    zero: ColumnElement[int] = literal_column("0")
    link = [edge.c[name] for name in ("id", *LINK)]
    # It begins at a link to the root that there is not, so that what may be seen is asked in one place.
    nothing = [cast(null(), column.type).label(column.name) for column in link]
    begin = select(*nothing, root.label("far"), zero.label("distance"), true().label("seen"))
    reached = begin.correlate(root.table).cte("reached", recursive=True, nesting=True)
    step = select(*link, far, reached.c.distance + 1, seen).select_from(reached.join(edge, near == reached.c.far))
    reached = reached.union(step.where(reached.c.seen, reached.c.distance <= depth))
    # The walk goes on only as long as rows are asked of it, so this ends it.
    bounded = select(reached).where(reached.c.distance > 0).limit(EDGES_MAX + 1).subquery("bounded")
    first_way = select(bounded).ext(distinct_on(bounded.c.id)).order_by(bounded.c.id, bounded.c.distance)
    return first_way.subquery("walked")
