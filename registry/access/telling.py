"""Who is told of what happens to access: those who may decide, who asked, and who reads under it."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, null, select

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import Team, User
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.recipients import people_who_may
from guildhall.inbox.telling import tell
from registry.access.naming import granted_resources
from registry.access.reviewers import reviews_needed
from registry.access.tables import AccessGrant, AccessRequest
from registry.datasets.tables import Dataset, DatasetSteward, DatasetVersion
from registry.models.tables import Model, ModelVersion

READ = "registry:dataset:read"


async def tell_asked(
    session: WriteSession,
    request: AccessRequest,
    named: Sequence[ResourceRef],
    dataset_ids: Collection[UUID],
    *,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Tell those who may decide: stewards of everything concerned, and reviewers; never whom it is for or who asks."""
    people = await _stewards_of_all(session, dataset_ids)
    people = people.union(*(await reviews_needed(session, named)).values())
    requester = await session.scalar(select(User.name).where(User.id == request.requester_id))
    await tell(
        session,
        EventKind.ACCESS_ASKED,
        subject=ResourceRef("AccessRequest", request.id),
        team_id=await _owner(session, dataset_ids),
        recipients=people - {request.requester_id, request.beneficiary_user_id},
        facts={
            "requester": requester,
            "for": await beneficiary_name(session, request),
            "purpose": request.purpose,
            "justification": request.justification,
            "durationSeconds": request.duration_seconds,
            "resources": await names_of(session, named),
        },
        at=at,
        new_id=new_id,
    )


async def tell_decided(
    session: WriteSession,
    actor: Actor,
    request: AccessRequest,
    named: Sequence[ResourceRef],
    *,
    valid_to: datetime | None,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Tell who asked, and the person whom it is for."""
    await tell(
        session,
        EventKind.ACCESS_DECIDED,
        subject=ResourceRef("AccessRequest", request.id),
        team_id=request.beneficiary_team_id,
        recipients={request.requester_id, *_person(request)},
        facts={
            "state": request.state,
            "by": actor.name,
            "reason": request.decision_reason,
            "purpose": request.purpose,
            "validTo": None if valid_to is None else valid_to.isoformat(),
            "resources": await names_of(session, named),
        },
        at=at,
        new_id=new_id,
    )


async def tell_withdrawn(
    session: WriteSession,
    actor: Actor,
    grant: AccessGrant,
    *,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Tell who had it and who had asked for it, but not who ended it."""
    await tell(
        session,
        EventKind.ACCESS_WITHDRAWN,
        subject=ResourceRef("AccessGrant", grant.id),
        team_id=grant.beneficiary_team_id,
        recipients=await readers_under(session, grant, at=at) - {actor.id},
        facts={
            "by": actor.name,
            "reason": grant.withdrawal_reason,
            "purpose": grant.purpose,
            "resources": await names_of(session, await granted_resources(session, grant.id)),
        },
        at=at,
        new_id=new_id,
    )


async def readers_under(session: ReadSession, grant: AccessGrant, *, at: datetime) -> set[UUID]:
    """The person whom the grant is for or the team's members who read under it, and who asked for it."""
    people = set(_person(grant))
    if grant.beneficiary_team_id is not None:
        people = await people_who_may(session, READ, team_id=grant.beneficiary_team_id, at=at, members=True)
    asked = select(AccessRequest.requester_id).where(AccessRequest.id == grant.request_id)
    return people | set(await session.scalars(asked))


async def beneficiary_name(session: ReadSession, about: AccessRequest | AccessGrant) -> str:
    """The team, as “the team quality”, or the person by name."""
    if about.beneficiary_team_id is not None:
        return f"the team {await session.scalar(select(Team.name).where(Team.id == about.beneficiary_team_id))}"
    return str(await session.scalar(select(User.name).where(User.id == about.beneficiary_user_id)))


async def names_of(session: ReadSession, resources: Iterable[ResourceRef]) -> list[str]:
    """What the resources are called, such as `maintenance/gauge-digits@2`, in order."""
    ids: dict[str, list[UUID]] = {}
    for resource in resources:
        ids.setdefault(resource.type, []).append(resource.id)
    statements = {
        "Dataset": select(Team.name, Dataset.name, null())
        .join(Dataset, Dataset.team_id == Team.id)
        .where(Dataset.id.in_(ids.get("Dataset", ()))),
        "DatasetVersion": select(Team.name, Dataset.name, DatasetVersion.number)
        .join(Dataset, Dataset.team_id == Team.id)
        .join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
        .where(DatasetVersion.id.in_(ids.get("DatasetVersion", ()))),
        "ModelVersion": select(Team.name, Model.name, ModelVersion.number)
        .join(Model, Model.team_id == Team.id)
        .join(ModelVersion, ModelVersion.model_id == Model.id)
        .where(ModelVersion.id.in_(ids.get("ModelVersion", ()))),
    }
    found = [row for kind in ids for row in await session.execute(statements[kind])]
    return sorted(f"{team}/{name}" if number is None else f"{team}/{name}@{number}" for team, name, number in found)


def _person(about: AccessRequest | AccessGrant) -> set[UUID]:
    return set() if about.beneficiary_user_id is None else {about.beneficiary_user_id}


async def _stewards_of_all(session: ReadSession, dataset_ids: Collection[UUID]) -> set[UUID]:
    """Who is a steward of every one of them."""
    statement = (
        select(DatasetSteward.user_id)
        .where(DatasetSteward.dataset_id.in_(sorted(dataset_ids)))
        .group_by(DatasetSteward.user_id)
        .having(func.count() == len(dataset_ids))
    )
    return set(await session.scalars(statement))


async def _owner(session: ReadSession, dataset_ids: Collection[UUID]) -> UUID | None:
    """The team that owns all of the data; None where there are several."""
    statement = select(Dataset.team_id).where(Dataset.id.in_(sorted(dataset_ids))).distinct()
    owners = (await session.scalars(statement)).all()
    return owners[0] if len(owners) == 1 else None
