"""What the upload of files asks of a model version: who may send them, and what happens once they are complete."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.subjects import ActorKind
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import NotFound
from registry.artifacts.owners import UploadOwner, UploadRight
from registry.models.declaring import ADD_VERSION
from registry.models.lookup import find_version, version_resources
from registry.models.tables import Model, ModelVersion, ModelVersionStatus


async def require_uploader(session: ReadSession, actor: Actor, version_id: UUID) -> UploadRight:
    """A job may upload the version that its own attempt makes; people and service accounts by role."""
    if actor.kind == ActorKind.JOB:
        return await _require_own_output(session, actor, version_id)
    version = await find_version(session, actor, version_id, field="ownerId")
    require(actor, ADD_VERSION, team_id=version.model.team_id, resource=version.resources[0])
    return UploadRight(permission=ADD_VERSION, team_id=version.model.team_id, resources=version.resources)


async def finish_version(
    session: WriteSession, actor: Actor, owner_id: UUID, *, at: datetime, new_id: IdSource
) -> None:
    """All files are stored: the draft is READY. A version that was abandoned meanwhile stays so."""
    del actor, new_id
    await session.execute(
        update(ModelVersion)
        .where(ModelVersion.id == owner_id, ModelVersion.status == ModelVersionStatus.DRAFT)
        .values(status=ModelVersionStatus.READY, ready_at=at)
        .execution_options(synchronize_session="fetch")
    )


async def _require_own_output(session: ReadSession, actor: Actor, version_id: UUID) -> UploadRight:
    assert actor.job is not None, "a job's actor carries its claims"
    statement = (
        select(Model.id, Model.team_id)
        .join(ModelVersion, ModelVersion.model_id == Model.id)
        .where(ModelVersion.id == version_id, ModelVersion.produced_by_attempt_id == actor.job.attempt_id)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFound("There is no such output of this job.", field="ownerId")
    model_id, team_id = row
    resources = version_resources(version_id, model_id)
    require(actor, ADD_VERSION, team_id=team_id, resource=resources[0])
    return UploadRight(permission=ADD_VERSION, team_id=team_id, resources=resources)


MODEL_VERSION_OWNER = UploadOwner(require_writer=require_uploader, finish=finish_version)
"""To be listed under OwnerKind.MODEL_VERSION where uploads are composed."""
