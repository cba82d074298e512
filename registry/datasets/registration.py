"""Registering a data set: its legal record, its stewards, and the owning team's own access."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import insert as insert_or_skip

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.errors import Conflict, Invalid
from guildhall.slugs import require_slug
from registry.access.ownership import open_to_owner
from registry.datasets.legal import LegalRecord, require_legal
from registry.datasets.lookup import dataset_refs
from registry.datasets.stewards import STEWARDS_MAX
from registry.datasets.tables import Classification, Dataset, DatasetSteward, Visibility
from registry.people import find_people
from registry.teams import find_team
from registry.texts import require_text

REGISTER = "registry:dataset:register"
DESCRIPTION_CHARACTERS_MAX = 20_000


class DatasetNameTaken(Conflict):
    """The team has a data set of this name."""

    code = "NAME_TAKEN"


class StewardsInvalid(Invalid):
    """Nobody, or too many people, would decide about access."""

    code = "STEWARDS_INVALID"


async def register_dataset(
    session: WriteSession,
    actor: Actor,
    *,
    team: str,
    name: str,
    description: str,
    visibility: Visibility = Visibility.ORGANISATION,
    classification: Classification,
    legal: LegalRecord,
    stewards: Sequence[str],
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Make the data set and return its id; the people named by address become its stewards.

    The owning team gets an access grant that can be seen; for RESTRICTED data a request for it that a steward other
    than the registrar has to approve. Raises NotFound, InvalidInput, DatasetNameTaken, StewardsInvalid and
    SecondPersonRequired.
    """
    team_id = await find_team(session, team, field="team")
    require(actor, REGISTER, team_id=team_id, resource=ResourceRef("Team", team_id))
    checked = await require_legal(session, legal, field="legal", at=at)
    if not 1 <= len(stewards) <= STEWARDS_MAX:
        raise StewardsInvalid(f"Name 1 to {STEWARDS_MAX} stewards; they decide who may read.", field="stewards")
    steward_ids = await find_people(session, stewards, field="stewards")
    row = {
        "id": new_id(),
        "team_id": team_id,
        "name": require_slug(name, "name"),
        "description": require_text(description, "description", characters_max=DESCRIPTION_CHARACTERS_MAX),
        "visibility": visibility,
        "classification": classification,
        **legal_columns(checked),
        "created_by": actor.id,
        "created_at": at,
    }
    statement = insert_or_skip(Dataset).values(row).on_conflict_do_nothing(index_elements=["team_id", "name"])
    dataset_id: UUID | None = await session.scalar(statement.returning(Dataset.id))
    if dataset_id is None:
        raise DatasetNameTaken(f"The team {team} has a data set named {name} already.", field="name")
    people = [
        {"dataset_id": dataset_id, "user_id": user_id, "added_by": actor.id, "added_at": at} for user_id in steward_ids
    ]
    await session.execute(insert(DatasetSteward), people)
    after = {"name": name, "visibility": visibility, "classification": classification, **legal_columns(checked)}
    await record(
        session,
        actor,
        action=REGISTER,
        team_id=team_id,
        resources=dataset_refs(dataset_id),
        after=after | {"stewards": steward_ids},
        at=at,
        new_id=new_id,
    )
    await open_to_owner(
        session,
        actor,
        dataset_id=dataset_id,
        team_id=team_id,
        classification=classification,
        retention_ends_on=checked.retention_ends_on,
        steward_ids=steward_ids,
        at=at,
        new_id=new_id,
    )
    return dataset_id


def legal_columns(legal: LegalRecord) -> dict[str, Any]:
    """The legal record as columns of `datasets`."""
    return {
        "licence": legal.licence,
        "legal_basis": legal.legal_basis,
        "consent": legal.consent,
        "permitted_purposes": list(legal.permitted_purposes),
        "retention_ends_on": legal.retention_ends_on,
        "regions": list(legal.regions),
    }
