"""A team adopts a published version of a model, moves on to another one, or ends it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.errors import Conflict, NotFound
from registry.adoption.tables import Adoption
from registry.models.lookup import find_version, share_version, version_resources, visible_models
from registry.models.tables import Model, ModelVersionStatus
from registry.teams import find_team
from registry.texts import require_text

ADOPT = "registry:model:adopt"
PURPOSE_CHARACTERS_MAX = 2_000


class NotAdoptable(Conflict):
    """Only what its makers published can be relied on."""

    code = "NOT_PUBLISHED"


class AlreadyAdopted(Conflict):
    """The team relies on this very version already."""

    code = "ALREADY_ADOPTED"


class AdoptionEnded(Conflict):
    """The adoption has ended already."""

    code = "ADOPTION_ENDED"


def visible_adoptions(actor: Actor) -> ColumnElement[bool]:
    """Which rows of `adoptions` exist for the actor: those of the models that do."""
    return exists().where(Model.id == Adoption.model_id, visible_models(actor))


async def adopt_model(
    session: WriteSession,
    actor: Actor,
    *,
    model_version_id: UUID,
    team: str,
    purpose: str,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Adopt the version for the team and return the adoption's id; an adoption of another version of the model ends."""
    version = await find_version(session, actor, model_version_id, field="modelVersionId")
    team_id = await find_team(session, team, field="team")
    require(actor, ADOPT, team_id=team_id, resource=version.resources[0])
    purpose = require_text(purpose, "purpose", characters_max=PURPOSE_CHARACTERS_MAX)
    row = await share_version(session, version)
    if row.status != ModelVersionStatus.PUBLISHED:
        raise NotAdoptable("Only a published version can be adopted.", field="modelVersionId")
    before = await _end_other(session, actor, version.model.id, model_version_id, team_id, at=at)
    adoption_id: UUID | None = await session.scalar(
        insert(Adoption)
        .values(
            id=new_id(),
            model_id=version.model.id,
            model_version_id=model_version_id,
            team_id=team_id,
            purpose=purpose,
            adopted_by=actor.id,
            since=at,
        )
        .on_conflict_do_nothing(index_elements=["model_id", "team_id"], index_where=Adoption.ended_at.is_(None))
        .returning(Adoption.id)
    )
    if adoption_id is None:
        raise AlreadyAdopted(f"The team {team} has adopted {version.model.name} already.", field="modelVersionId")
    await record(
        session,
        actor,
        action=ADOPT,
        team_id=team_id,
        resources=[ResourceRef("Adoption", adoption_id), *version.resources],
        purpose=purpose,
        before=None if before is None else {"version": str(before)},
        after={"version": str(model_version_id)},
        at=at,
        new_id=new_id,
    )
    return adoption_id


async def end_adoption(
    session: WriteSession, actor: Actor, *, adoption_id: UUID, at: datetime, new_id: IdSource
) -> UUID:
    """End the team's adoption and return its id; its row stays, as what it was."""
    statement = select(Adoption).where(Adoption.id == adoption_id, visible_adoptions(actor))
    adoption = (await session.scalars(statement.with_for_update(key_share=True))).one_or_none()
    if adoption is None:
        raise NotFound("There is no such adoption.", field="adoptionId")
    require(actor, ADOPT, team_id=adoption.team_id, resource=ResourceRef("Adoption", adoption_id))
    if adoption.ended_at is not None:
        raise AdoptionEnded("This adoption has ended already.", field="adoptionId")
    adoption.ended_at = at
    adoption.ended_by = actor.id
    await session.flush()
    await record(
        session,
        actor,
        action=ADOPT,
        team_id=adoption.team_id,
        resources=[
            ResourceRef("Adoption", adoption_id),
            *version_resources(adoption.model_version_id, adoption.model_id),
        ],
        before={"ended": False},
        after={"ended": True},
        at=at,
        new_id=new_id,
    )
    return adoption_id


async def _end_other(
    session: WriteSession, actor: Actor, model_id: UUID, version_id: UUID, team_id: UUID, *, at: datetime
) -> UUID | None:
    """End the team's adoption of another version, and say of which."""
    statement = (
        update(Adoption)
        .where(Adoption.model_id == model_id, Adoption.team_id == team_id, Adoption.ended_at.is_(None))
        .where(Adoption.model_version_id != version_id)
        .values(ended_at=at, ended_by=actor.id)
        .returning(Adoption.model_version_id)
        .execution_options(synchronize_session=False)
    )
    return await session.scalar(statement)
