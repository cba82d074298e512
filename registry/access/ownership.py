"""The owning team's own access: a grant like any other, so that it can be seen, ends, and can be withdrawn."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from sqlalchemy import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.subjects import ActorKind
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.errors import Invalid
from registry.access.tables import (
    AccessBasis,
    AccessGrant,
    AccessGrantResource,
    AccessRequest,
    AccessRequestResource,
    AccessRequestSource,
    AccessRequestState,
    ResourceKind,
)
from registry.access.telling import tell_asked
from registry.datasets.lookup import dataset_refs
from registry.datasets.tables import Classification

OWNERSHIP_DAYS = 365
JUSTIFICATION = "The owning team registered the data set."
GRANTED_BY_REGISTRATION = "registry:dataset:register"
REQUEST = "registry:access:request"


class SecondPersonRequired(Invalid):
    """RESTRICTED data opens only when a second person agrees, and nobody could."""

    code = "SECOND_PERSON_REQUIRED"


async def open_to_owner(
    session: WriteSession,
    actor: Actor,
    *,
    dataset_id: UUID,
    team_id: UUID,
    classification: Classification,
    retention_ends_on: date | None,
    steward_ids: Sequence[UUID],
    at: datetime,
    new_id: IdSource,
) -> None:
    """Grant CONFIDENTIAL data to the owning team; for RESTRICTED data write the request that a steward decides.

    Nothing is needed for PUBLIC and INTERNAL data, whose bytes go by role.
    """
    ends_at = ownership_end(at, retention_ends_on)
    if classification is Classification.CONFIDENTIAL:
        await _grant(session, actor, dataset_id=dataset_id, team_id=team_id, at=at, ends_at=ends_at, new_id=new_id)
    elif classification is Classification.RESTRICTED:
        if actor.kind is not ActorKind.USER or not set(steward_ids) - {actor.id}:
            raise SecondPersonRequired(
                "Restricted data opens only when a second person agrees: register it as a person, "
                "and name at least one steward besides yourself.",
                field="stewards",
            )
        await _ask(session, actor, dataset_id=dataset_id, team_id=team_id, at=at, ends_at=ends_at, new_id=new_id)


def ownership_end(at: datetime, retention_ends_on: date | None) -> datetime:
    """A year from now, or the end of the retention's last day, whichever is earlier."""
    year = at + timedelta(days=OWNERSHIP_DAYS)
    if retention_ends_on is None or retention_ends_on >= year.date():
        return year
    return datetime.combine(retention_ends_on + timedelta(days=1), time(), UTC)


async def _grant(
    session: WriteSession,
    actor: Actor,
    *,
    dataset_id: UUID,
    team_id: UUID,
    at: datetime,
    ends_at: datetime,
    new_id: IdSource,
) -> None:
    grant_id = new_id()
    grant = {
        "id": grant_id,
        "basis": AccessBasis.OWNERSHIP,
        "beneficiary_team_id": team_id,
        "justification": JUSTIFICATION,
        "valid_from": at,
        "valid_to": ends_at,
        "created_at": at,
    }
    await session.execute(insert(AccessGrant), [grant])
    resource = {"grant_id": grant_id, "resource_kind": ResourceKind.DATASET, "resource_id": dataset_id}
    await session.execute(insert(AccessGrantResource), [resource])
    await record(
        session,
        actor,
        action=GRANTED_BY_REGISTRATION,
        team_id=team_id,
        resources=dataset_refs(dataset_id),
        justification=JUSTIFICATION,
        access_grant_id=grant_id,
        after={"validTo": ends_at},
        at=at,
        new_id=new_id,
    )


async def _ask(
    session: WriteSession,
    actor: Actor,
    *,
    dataset_id: UUID,
    team_id: UUID,
    at: datetime,
    ends_at: datetime,
    new_id: IdSource,
) -> None:
    request = {
        "id": new_id(),
        "basis": AccessBasis.OWNERSHIP,
        "requester_id": actor.id,
        "beneficiary_team_id": team_id,
        "justification": JUSTIFICATION,
        "duration_seconds": int((ends_at - at).total_seconds()),
        "state": AccessRequestState.PENDING,
        "created_at": at,
    }
    await session.execute(insert(AccessRequest), [request])
    named = {"request_id": request["id"], "resource_kind": ResourceKind.DATASET, "resource_id": dataset_id}
    await session.execute(insert(AccessRequestResource), [named])
    await session.execute(insert(AccessRequestSource), [{"request_id": request["id"], "dataset_id": dataset_id}])
    await record(
        session,
        actor,
        action=REQUEST,
        team_id=team_id,
        resources=dataset_refs(dataset_id),
        justification=JUSTIFICATION,
        after={"accessRequestId": request["id"], "durationSeconds": request["duration_seconds"]},
        at=at,
        new_id=new_id,
    )
    written = AccessRequest(**request)
    await tell_asked(session, written, dataset_refs(dataset_id), [dataset_id], at=at, new_id=new_id)
