"""Lineage: what versions were made from, the environments of runs, and what a change would touch."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, select

from guildhall.errors import Invalid, LimitExceeded
from guildhall.graphql.declare import (
    calculated,
    column,
    extend,
    json_list,
    json_object,
    node,
    object_type,
    reference,
    resolver,
)
from guildhall.graphql.ids import UnknownId, decode_reference
from guildhall.graphql.resolving import Resolving
from guildhall.graphql.scalars import ID, JSON
from guildhall.graphql.viewing import Viewing
from registry.datasets.tables import DatasetVersion
from registry.lineage.around import links_around
from registry.lineage.tables import EdgeBasis, EdgeKind, Environment, NodeKind
from registry.lineage.walking import DEPTH_MAX, Direction, LineageNode, impact, read_links
from registry.models.lookup import DISCOVER
from registry.models.tables import ModelVersion

NODE_TYPES = {
    NodeKind.MODEL_VERSION.value: "ModelVersion",
    NodeKind.DATASET_VERSION.value: "DatasetVersion",
    NodeKind.PACKAGE.value: "Package",
    NodeKind.ENVIRONMENT.value: "Environment",
    NodeKind.JOB.value: "Job",
}
"""From the kind of a thing in lineage to its type."""
_WHOLES = {"Dataset": DatasetVersion.dataset_id, "Model": ModelVersion.model_id}
"""What is asked about stands for all its versions: by type, the column that points at it."""
_LINKS_MAX = 500


class LineageArgument(Invalid):
    """An argument outside its range."""

    code = "BAD_USER_INPUT"


class PageTooLarge(LimitExceeded):
    """More rows than a page has."""

    code = "PAGE_TOO_LARGE"


@node("Environment", table=Environment, visible=None, permission=DISCOVER)
class EnvironmentType:
    """The Python, platform and packages that a run happened in."""

    digest: str = column(Environment.digest, description="SHA-256 of the description, hexadecimal.")
    python: str = column(Environment.description["python"].astext)
    platform: str = column(Environment.description["platform"].astext)
    packages: JSON = column(Environment.description["packages"], description="Versions by name.")
    created_at: datetime = column(Environment.created_at)


@object_type("LineageLink")
class LineageLinkType:
    """`from` was made from, with or in `to`. OBSERVED: the platform saw it; DECLARED: somebody said so."""

    kind: EdgeKind
    basis: EdgeBasis
    from_ = reference("from_kind", "from_id", types=NODE_TYPES, seen=True)
    to = reference("to_kind", "to_id", types=NODE_TYPES, seen=True)


@object_type("Lineage")
class LineageType:
    """Links around a version, nearest first. Not complete: something was withheld, or there is more than asked for."""

    complete: bool
    links = json_list("LineageLink", "links")


@object_type("ImpactStep")
class ImpactStepType:
    """One step from the thing asked about towards what was made from it."""

    kind: EdgeKind
    basis: EdgeBasis


@object_type("ImpactEdge")
class ImpactEdgeType:
    """Something that was made, directly or over several steps, from the thing asked about."""

    cursor: str
    distance: int
    path = json_list("ImpactStep", "path")
    node = reference("kind", "id", types=NODE_TYPES)


@object_type("ImpactConnection")
class ImpactConnectionType:
    """What was made from a thing, nearest first. Not complete: something was withheld, or the walk was cut."""

    complete: bool
    edges = json_list("ImpactEdge", "edges")
    page_info = json_object("PageInfo", "page_info", nullable=False)


@extend("ModelVersion", permission=DISCOVER)
class ModelVersionLineage:
    """Where a version comes from and where it went."""

    @calculated(key=ModelVersion.id, returns="Lineage", nullable=False)
    def lineage(
        viewing: Viewing, *, direction: Direction = Direction.UPSTREAM, depth: int = 3, first: int = 50
    ) -> ColumnElement[Any]:
        """The links within `depth` steps, at most `first` of them."""
        if not 1 <= depth <= DEPTH_MAX:
            raise LineageArgument(f"`depth` is 1 to {DEPTH_MAX}.", field="depth")
        if not 0 <= first <= _LINKS_MAX:
            raise LineageArgument(f"`first` is 0 to {_LINKS_MAX}.", field="first")

        def exists(kind: NodeKind, key: ColumnElement[Any], within: FromClause) -> ColumnElement[bool]:
            return viewing.exists(NODE_TYPES[kind.value], key, within)

        return links_around(ModelVersion.id, direction=direction, depth=depth, first=first, exists=exists)


@extend("Query", permission=DISCOVER)
class LineageQueries:
    """What a change would touch."""

    @resolver(returns="ImpactConnection", nullable=False)
    async def impact(
        context: Resolving, _values: Mapping[str, Any], *, of: ID, first: int, after: str | None = None
    ) -> Any:  # noqa: ANN401 -- a mapping of ImpactConnection
        """All that was made from a data set, model, one of their versions, a package, an environment or a job."""
        if first < 0:
            raise LineageArgument("`first` cannot be negative.", field="first")
        if first > context.settings.graphql_page_max:
            raise PageTooLarge(
                f"`first` is {context.settings.graphql_page_max} at most; page on with `after`.", field="first"
            )
        binding = hashlib.sha256(f"impact\n{of}\n{context.actor.id}".encode()).digest()
        place = None if after is None else tuple(context.signer.open(binding, after))
        roots = await _roots(context, of)
        async with context.database.read() as session:
            links = await read_links(session, roots)
        found = impact(links, roots, visible=await visible_nodes(context, links.nodes()))
        rest = [reached for reached in found.reached if place is None or (reached.distance, reached.node.id) > place]
        edges = [
            {
                "cursor": context.signer.sign(binding, [reached.distance, reached.node.id]),
                "distance": reached.distance,
                "path": [{"kind": link.kind, "basis": link.basis} for link in reached.path],
                "kind": reached.node.kind,
                "id": reached.node.id,
            }
            for reached in rest[:first]
        ]
        info = {
            "has_next_page": len(rest) > first,
            "has_previous_page": False,
            "start_cursor": edges[0]["cursor"] if edges else None,
            "end_cursor": edges[-1]["cursor"] if edges else None,
        }
        return {"complete": found.complete, "edges": edges, "page_info": info}


async def visible_nodes(context: Resolving, nodes: Iterable[LineageNode]) -> frozenset[LineageNode]:
    """Those that the caller may see, by the rule of each type, upper packages' included; a statement for each kind."""
    types = context.loaders.catalogue.types
    known = [each for each in nodes if NODE_TYPES[each.kind] in types]
    found = await asyncio.gather(
        *(context.loaders.one(types[NODE_TYPES[each.kind]], each.id, frozenset()) for each in known)
    )
    return frozenset(each for each, record in zip(known, found, strict=True) if record is not None)


async def _roots(context: Resolving, text: str) -> list[UUID]:
    """The versions of a visible data set or model, or the visible thing itself; raises UnknownId."""
    name, key = decode_reference(text, *_WHOLES, *NODE_TYPES.values(), field="of")
    target = context.loaders.catalogue.types.get(name)
    if target is None or await context.loaders.one(target, key, frozenset()) is None:
        raise UnknownId(f"There is no {name} with the id {text!r}.", field="of")
    if name not in _WHOLES:
        return [key]
    whole = _WHOLES[name]
    statement = select(whole.class_.id).where(whole == key)
    return [row[0] for row in await context.loaders.fetch(statement)]


TYPES = [
    EnvironmentType,
    LineageLinkType,
    LineageType,
    ImpactStepType,
    ImpactEdgeType,
    ImpactConnectionType,
    ModelVersionLineage,
    LineageQueries,
]
