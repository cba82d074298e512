"""Who may see which models, and finding them by id: what is outside a caller's sight is not there."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import visible_rows
from guildhall.auth.resources import ResourceRef
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import NotFound
from registry.models.tables import Model, ModelVersion

DISCOVER = "registry:model:discover"


@dataclass(frozen=True)
class FoundModel:
    """A model that the caller may see."""

    id: UUID
    team_id: UUID
    name: str
    risk_tier: str


@dataclass(frozen=True)
class FoundVersion:
    """A version that the caller may see, with its model."""

    row: ModelVersion
    model: FoundModel

    @property
    def resources(self) -> tuple[ResourceRef, ResourceRef]:
        """The version and its model, as authorisation and audit name them."""
        return version_resources(self.row.id, self.model.id)


def version_resources(version_id: UUID, model_id: UUID) -> tuple[ResourceRef, ResourceRef]:
    """A version as authorisation and audit name it: itself first, then its model."""
    return (ResourceRef("ModelVersion", version_id), ResourceRef("Model", model_id))


def visible_models(actor: Actor) -> ColumnElement[bool]:
    """Which rows of `models` exist for the actor."""
    return visible_rows(actor, visibility_column=Model.visibility, team_column=Model.team_id, permission=DISCOVER)


def visible_model_versions(actor: Actor) -> ColumnElement[bool]:
    """Which rows of `model_versions` exist for the actor: those of the models that do."""
    return exists().where(Model.id == ModelVersion.model_id, visible_models(actor))


async def find_model(session: ReadSession, actor: Actor, model_id: UUID, *, field: str) -> FoundModel:
    """The model, or NotFound about the input's field."""
    statement = select(Model.id, Model.team_id, Model.name, Model.risk_tier)
    row = (await session.execute(statement.where(Model.id == model_id, visible_models(actor)))).one_or_none()
    if row is None:
        raise NotFound("There is no such model.", field=field)
    return FoundModel(*row)


async def find_version(session: ReadSession, actor: Actor, version_id: UUID, *, field: str) -> FoundVersion:
    """The version, or NotFound about the input's field."""
    statement = (
        select(ModelVersion, Model.id, Model.team_id, Model.name, Model.risk_tier)
        .join(Model, Model.id == ModelVersion.model_id)
        .where(ModelVersion.id == version_id, visible_models(actor))
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFound("There is no such model version.", field=field)
    return FoundVersion(row[0], FoundModel(*row[1:]))


async def lock_version(session: WriteSession, version: FoundVersion) -> ModelVersion:
    """The version's row, held and fresh: whoever changes its status or its card waits for the others."""
    (row,) = await lock_rows(session, ModelVersion, [version.row.id])
    return row


async def share_version(session: WriteSession, version: FoundVersion) -> ModelVersion:
    """The version's row, fresh and unable to change its status while this transaction points at it."""
    statement = select(ModelVersion).where(ModelVersion.id == version.row.id).with_for_update(read=True)
    return (await session.scalars(statement.execution_options(populate_existing=True))).one()
