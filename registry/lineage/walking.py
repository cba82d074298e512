"""Reading lineage: what a version was made from, and what was made from a thing, over several steps.

A walk never goes through what the caller may not see, and says so: it is complete only where nothing was withheld and
nothing was cut off.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Uuid, bindparam, text

from guildhall.db.transaction import ReadSession
from registry.lineage.tables import EdgeBasis, EdgeKind, NodeKind

DEPTH_MAX = 20
EDGES_MAX = 20_000
"""The most edges of one statement; a walk that needs more is cut, and says that it is not complete."""


class Direction(StrEnum):
    """UPSTREAM leads to what a thing was made from, DOWNSTREAM to what was made from it."""

    UPSTREAM = "UPSTREAM"
    DOWNSTREAM = "DOWNSTREAM"


@dataclass(frozen=True, order=True)
class LineageNode:
    """One end of an edge."""

    kind: NodeKind
    id: UUID


@dataclass(frozen=True)
class Link:
    """One stored edge: `made` was made from `source`."""

    id: UUID
    kind: EdgeKind
    basis: EdgeBasis
    made: LineageNode
    source: LineageNode


@dataclass(frozen=True)
class Links:
    """What was read around some roots; `cut` where there was more than EDGES_MAX."""

    links: tuple[Link, ...]
    cut: bool

    def nodes(self) -> frozenset[LineageNode]:
        """Every end of every link."""
        return frozenset(node for link in self.links for node in (link.made, link.source))


@dataclass(frozen=True)
class Reached:
    """One thing that was made from the root over `distance` steps; `path` are the links from the root to it."""

    node: LineageNode
    path: tuple[Link, ...]

    @property
    def distance(self) -> int:
        """How many steps away."""
        return len(self.path)


@dataclass(frozen=True)
class Impact:
    """All that was made from a thing, nearest first, as far as the caller sees."""

    reached: tuple[Reached, ...]
    complete: bool


_READ = text("""
    WITH RECURSIVE reached (id, distance) AS (
        SELECT root, 0 FROM unnest(:roots) AS root
        UNION
        SELECT edge.from_id, distance + 1 FROM reached JOIN lineage_edges AS edge ON edge.to_id = reached.id
        WHERE distance < :depth
    ),
    nearest AS (SELECT id, min(distance) AS distance FROM reached GROUP BY id)
    SELECT edge.id, edge.kind, edge.basis, edge.from_kind, edge.from_id, edge.to_kind, edge.to_id
    FROM nearest JOIN lineage_edges AS edge ON edge.to_id = nearest.id
    ORDER BY nearest.distance, edge.id LIMIT :edges
""").bindparams(bindparam("roots", type_=ARRAY(Uuid(as_uuid=True))), bindparam("depth", type_=Integer))


async def read_links(session: ReadSession, roots: Iterable[UUID]) -> Links:
    """What was made from the roots within DEPTH_MAX steps, and one step beyond, in one statement."""
    arguments = {"roots": sorted(set(roots)), "depth": DEPTH_MAX, "edges": EDGES_MAX + 1}
    rows = (await session.execute(_READ, arguments)).all()
    links = tuple(
        Link(
            row.id,
            EdgeKind(row.kind),
            EdgeBasis(row.basis),
            LineageNode(NodeKind(row.from_kind), row.from_id),
            LineageNode(NodeKind(row.to_kind), row.to_id),
        )
        for row in rows[:EDGES_MAX]
    )
    return Links(links, cut=len(rows) > EDGES_MAX)


def impact(links: Links, roots: Iterable[UUID], *, visible: Collection[LineageNode]) -> Impact:
    """What was made from the roots, each thing once, by a shortest path; in the order of distance and id."""
    following = _by_source(links.links)
    level: list[tuple[UUID, tuple[Link, ...]]] = [(root, ()) for root in sorted(set(roots))]
    seen = {root for root, _ in level}
    found: list[Reached] = []
    complete = not links.cut
    for _ in range(DEPTH_MAX):
        beyond: list[Reached] = []
        for near, path in level:
            for link in following.get(near, ()):
                if link.made not in visible:
                    complete = False
                elif link.made.id not in seen:
                    seen.add(link.made.id)
                    beyond.append(Reached(link.made, (*path, link)))
        found += sorted(beyond, key=lambda reached: reached.node.id)
        level = [(reached.node.id, reached.path) for reached in beyond]
    if any(near in following for near, _ in level):
        complete = False
    return Impact(tuple(found), complete)


def _by_source(links: Sequence[Link]) -> Mapping[UUID, list[Link]]:
    following: dict[UUID, list[Link]] = {}
    for link in sorted(links, key=lambda link: link.id):
        following.setdefault(link.source.id, []).append(link)
    return following
