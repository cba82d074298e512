"""Checking what people declare as sources: each must be there for them, and finished."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import team_rows
from guildhall.db.transaction import ReadSession
from guildhall.errors import InvalidInput, LimitExceeded, Problem
from registry.artifacts.tables import Package, PackageState
from registry.datasets.lookup import visible_datasets
from registry.datasets.tables import Dataset, DatasetVersion, DatasetVersionState
from registry.lineage.edges import EDGE_TO, SOURCES_MAX, Edge
from registry.lineage.tables import EdgeKind, NodeKind
from registry.models.lookup import visible_models
from registry.models.tables import Model, ModelVersion, ModelVersionStatus

DECLARABLE = frozenset({EdgeKind.TRAINED_ON, EdgeKind.FINE_TUNED_FROM, EdgeKind.BUILT_FROM})
"""What a person can say about a version made elsewhere; jobs and environments are only ever observed."""


class TooManySources(LimitExceeded):
    """More sources than one version may have."""

    code = "TOO_MANY_SOURCES"


async def require_sources(session: ReadSession, actor: Actor, edges: Sequence[Edge], *, field: str = "sources") -> None:
    """Raises InvalidInput that names each source that the actor cannot see, that is unfinished or of a wrong kind.

    One statement for each kind of source, however many there are.
    """
    if len(edges) > SOURCES_MAX:
        raise TooManySources(f"{len(edges)} sources are more than the {SOURCES_MAX} of a version.", field=field)
    wanted: dict[NodeKind, set[UUID]] = {}
    for edge in edges:
        wanted.setdefault(edge.source.kind, set()).add(edge.source.id)
    finished: dict[UUID, bool] = {}
    for kind, ids in wanted.items():
        if kind in _STATEMENTS:
            finished.update((await session.execute(_STATEMENTS[kind](actor, ids))).all())
    problems = [
        problem for number, edge in enumerate(edges) for problem in _problems(edge, finished, f"{field}[{number}]")
    ]
    if problems:
        raise InvalidInput(problems)


def _problems(edge: Edge, finished: dict[UUID, bool], field: str) -> list[Problem]:
    if edge.source.id not in finished:
        return [Problem("NOT_FOUND", "There is no such source.", f"{field}.nodeId")]
    if edge.kind not in DECLARABLE or EDGE_TO[edge.kind] != edge.source.kind:
        return [Problem("WRONG_KIND", f"{edge.kind} cannot lead to a {edge.source.kind}.", f"{field}.kind")]
    if not finished[edge.source.id]:
        return [Problem("SOURCE_UNFINISHED", "The files of this source are not complete.", f"{field}.nodeId")]
    return []


def _dataset_versions(actor: Actor, ids: set[UUID]) -> Select[UUID, bool]:
    statement = select(DatasetVersion.id, DatasetVersion.state == DatasetVersionState.READY)
    return statement.join(Dataset, Dataset.id == DatasetVersion.dataset_id).where(
        DatasetVersion.id.in_(ids), visible_datasets(actor)
    )


def _model_versions(actor: Actor, ids: set[UUID]) -> Select[UUID, bool]:
    finished: ColumnElement[bool] = ModelVersion.ready_at.is_not(None) & (
        ModelVersion.status != ModelVersionStatus.ABANDONED
    )
    statement = select(ModelVersion.id, finished).join(Model, Model.id == ModelVersion.model_id)
    return statement.where(ModelVersion.id.in_(ids), visible_models(actor))


def _packages(actor: Actor, ids: set[UUID]) -> Select[UUID, bool]:
    visible = team_rows(actor, team_column=Package.team_id, permission="registry:package:read")
    return select(Package.id, Package.state == PackageState.READY).where(Package.id.in_(ids), visible)


_STATEMENTS = {
    NodeKind.DATASET_VERSION: _dataset_versions,
    NodeKind.MODEL_VERSION: _model_versions,
    NodeKind.PACKAGE: _packages,
}
