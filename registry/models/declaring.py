"""A version that was made elsewhere: its files are uploaded, its sources are declared."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from registry.artifacts.files import FileSpec
from registry.artifacts.owners import OwnerRef
from registry.artifacts.planning import plan_uploads
from registry.artifacts.tables import OwnerKind
from registry.lineage.edges import Edge, write_edges
from registry.lineage.sources import require_sources
from registry.lineage.tables import EdgeBasis
from registry.models.lookup import find_model, version_resources
from registry.models.numbering import insert_version
from registry.models.reported import Metric, require_metrics, require_parameters, write_metrics

ADD_VERSION = "registry:model:add-version"


async def create_model_version(
    session: WriteSession,
    actor: Actor,
    *,
    model_id: UUID,
    files: Sequence[FileSpec],
    metrics: Sequence[Metric] = (),
    parameters: object = None,
    sources: Sequence[Edge] = (),
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Make a DRAFT that becomes READY once its files are complete; returns its id.

    Each source must be visible to the actor and finished, or nothing is made. Raises InvalidInput about `sources[…]`,
    `metrics[…]` or `files[…]`.
    """
    model = await find_model(session, actor, model_id, field="modelId")
    require(actor, ADD_VERSION, team_id=model.team_id, resource=ResourceRef("Model", model_id))
    reported = require_metrics(metrics)
    given = require_parameters(parameters)
    await require_sources(session, actor, sources)
    version_id = await insert_version(
        session, model_id=model_id, parameters=given, producer=None, created_by=actor.id, at=at, new_id=new_id
    )
    await write_metrics(session, model_version_id=version_id, metrics=reported, new_id=new_id)
    await write_edges(
        session,
        model_version_id=version_id,
        edges=sources,
        basis=EdgeBasis.DECLARED,
        job_id=None,
        at=at,
        new_id=new_id,
    )
    owner = OwnerRef(OwnerKind.MODEL_VERSION, version_id)
    await plan_uploads(session, owner=owner, files=files, at=at, new_id=new_id)
    await record(
        session,
        actor,
        action=ADD_VERSION,
        team_id=model.team_id,
        resources=version_resources(version_id, model_id),
        after={
            "files": len(files),
            "sources": [{"kind": edge.kind, "id": str(edge.source.id)} for edge in sources],
        },
        at=at,
        new_id=new_id,
    )
    return version_id
