"""The stewards of data sets: people by name, whatever their roles; they decide who may read."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused, require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import User
from guildhall.db.transaction import ReadSession
from guildhall.organisation.giving import emergency_behind, refuse_lasting
from registry.datasets.lookup import find_dataset
from registry.datasets.tables import Dataset, DatasetSteward

STEWARD = "registry:dataset:steward"
STEWARDS_MAX = 20


class StewardRequired(Refused):
    """Only a steward of the data set may do this."""

    code = "STEWARD_REQUIRED"


async def steward_emails(session: ReadSession, dataset_ids: Iterable[UUID]) -> dict[UUID, list[str]]:
    """The addresses of the stewards who are still here, for each data set, in order."""
    statement = (
        select(DatasetSteward.dataset_id, User.email)
        .join(User, User.id == DatasetSteward.user_id)
        .where(DatasetSteward.dataset_id.in_(sorted(set(dataset_ids))), User.deactivated_at.is_(None))
        .order_by(User.email)
    )
    emails: dict[UUID, list[str]] = {}
    for dataset_id, email in await session.execute(statement):
        emails.setdefault(dataset_id, []).append(email)
    return emails


async def stewarded(session: ReadSession, actor: Actor, dataset_ids: Iterable[UUID]) -> set[UUID]:
    """Which of the data sets the actor is a steward of; programs, and tokens limited to other roles, have none."""
    if actor.kind is not ActorKind.USER or not actor.shows_token_for(STEWARD):
        return set()
    statement = select(DatasetSteward.dataset_id).where(
        DatasetSteward.dataset_id.in_(sorted(set(dataset_ids))), DatasetSteward.user_id == actor.id
    )
    return set((await session.scalars(statement)).all())


async def find_as_steward(session: ReadSession, actor: Actor, dataset_id: UUID) -> Dataset:
    """The data set, for one of its stewards alone; raises NotFound about `datasetId`, StewardRequired."""
    found = await find_dataset(session, actor, dataset_id, field="datasetId")
    await require_steward(session, actor, [dataset_id], permission=STEWARD, team_id=found.team_id)
    return found


async def find_as_keeper(session: ReadSession, actor: Actor, dataset_id: UUID, *, at: datetime) -> Dataset:
    """The data set, for its stewards and for whoever's role in its team says so: what is set for it, not who reads it.

    Raises NotFound about `datasetId`, StewardRequired, and EndsWithEmergency where only a role taken in one says so:
    what is set stays.
    """
    found = await find_dataset(session, actor, dataset_id, field="datasetId")
    if dataset_id in await stewarded(session, actor, [dataset_id]):
        return found
    if not actor.may(STEWARD, found.team_id):
        await require_steward(session, actor, [dataset_id], permission=STEWARD, team_id=found.team_id)

    def check(someone: Actor) -> None:
        require(someone, STEWARD, team_id=found.team_id)

    refuse_lasting(await emergency_behind(session, actor, check, at=at), "what is set for a data set")
    return found


async def require_steward(
    session: ReadSession, actor: Actor, dataset_ids: Sequence[UUID], *, permission: str, team_id: UUID | None
) -> None:
    """Return for a steward of every one of the data sets; else raise StewardRequired, which names whom to ask."""
    missing = set(dataset_ids) - await stewarded(session, actor, dataset_ids)
    if not missing:
        return
    emails = await steward_emails(session, missing)
    names = ", ".join(sorted({email for found in emails.values() for email in found})) or "an administrator"
    raise StewardRequired(
        f"Only a steward of every data set concerned may do this. Ask {names}.",
        permission=permission,
        resources=[ResourceRef("Dataset", dataset_id) for dataset_id in sorted(missing)],
        team_id=team_id,
        details={"permission": permission},
    )
