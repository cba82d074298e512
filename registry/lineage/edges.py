"""Writing lineage: what was observed of a run, and what people declare about a version made elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import IdSource
from registry.lineage.restrictions import lock_sources, recompute_effective
from registry.lineage.tables import EdgeBasis, EdgeKind, LineageEdge, NodeKind

SOURCES_MAX = 100
EDGE_TO = {
    EdgeKind.TRAINED_ON: NodeKind.DATASET_VERSION,
    EdgeKind.FINE_TUNED_FROM: NodeKind.MODEL_VERSION,
    EdgeKind.BUILT_FROM: NodeKind.PACKAGE,
    EdgeKind.RAN_IN: NodeKind.ENVIRONMENT,
    EdgeKind.PRODUCED_BY: NodeKind.JOB,
}
"""What each kind of edge leads to, from a model version."""


@dataclass(frozen=True)
class LineageSource:
    """Something that a version was made from, with or in."""

    kind: NodeKind
    id: UUID


@dataclass(frozen=True)
class Edge:
    """One edge from the version that was made; `access_grant_ids` as in the table."""

    kind: EdgeKind
    source: LineageSource
    access_grant_ids: tuple[UUID, ...] | None = None


async def write_edges(
    session: AsyncSession,
    *,
    model_version_id: UUID,
    edges: Sequence[Edge],
    basis: EdgeBasis,
    job_id: UUID | None,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Join a version that is still a DRAFT to its sources, and let it inherit their restrictions.

    Writing the same edge twice changes nothing. Only a draft gains sources, and only finished things are sources, so
    that two transactions cannot close a circle between them; within one, the database refuses it.
    """
    assert all(EDGE_TO[edge.kind] == edge.source.kind for edge in edges), "an edge leads to a thing of its kind"
    await lock_sources(session, [edge.source.id for edge in edges])
    rows = [
        {
            "id": new_id(),
            "kind": edge.kind,
            "from_kind": NodeKind.MODEL_VERSION,
            "from_id": model_version_id,
            "to_kind": edge.source.kind,
            "to_id": edge.source.id,
            "basis": basis,
            "job_id": job_id,
            "access_grant_ids": None if edge.access_grant_ids is None else list(edge.access_grant_ids),
            "created_at": at,
        }
        for edge in edges
    ]
    if rows:
        await session.execute(insert(LineageEdge).values(rows).on_conflict_do_nothing())
    await recompute_effective(session, model_version_ids=[model_version_id])
