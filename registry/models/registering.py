"""Registering a model: the name under which a team offers versions."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.errors import Conflict
from guildhall.slugs import require_slug
from registry.datasets.tables import Visibility
from registry.models.tables import Model, RiskTier
from registry.teams import find_team
from registry.texts import require_tags, require_text

REGISTER = "registry:model:register"
TASK_CHARACTERS_MAX = 200
DESCRIPTION_CHARACTERS_MAX = 20_000


class ModelNameTaken(Conflict):
    """The team has a model of this name."""

    code = "NAME_TAKEN"


async def register_model(
    session: WriteSession,
    actor: Actor,
    *,
    team: str,
    name: str,
    task: str,
    description: str,
    visibility: Visibility = Visibility.ORGANISATION,
    risk_tier: RiskTier,
    tags: Sequence[str] = (),
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Make the model and return its id. Raises NotFound for a team that is not there, ModelNameTaken."""
    team_id = await find_team(session, team, field="team")
    require(actor, REGISTER, team_id=team_id, resource=ResourceRef("Team", team_id))
    row = {
        "id": new_id(),
        "team_id": team_id,
        "name": require_slug(name, "name"),
        "task": require_text(task, "task", characters_max=TASK_CHARACTERS_MAX),
        "description": require_text(description, "description", characters_max=DESCRIPTION_CHARACTERS_MAX),
        "visibility": visibility,
        "risk_tier": risk_tier,
        "tags": require_tags(tags),
        "versions_made": 0,
        "created_by": actor.id,
        "created_at": at,
    }
    statement = insert(Model).values(row).on_conflict_do_nothing(index_elements=["team_id", "name"])
    model_id: UUID | None = await session.scalar(statement.returning(Model.id))
    if model_id is None:
        raise ModelNameTaken(f"The team {team} has a model named {name} already.", field="name")
    after = {key: row[key] for key in ("name", "task", "visibility", "risk_tier", "tags")}
    await record(
        session,
        actor,
        action=REGISTER,
        team_id=team_id,
        resources=[ResourceRef("Model", model_id)],
        after=after,
        at=at,
        new_id=new_id,
    )
    return model_id
