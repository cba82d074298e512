"""Ending a grant before its time. It counts from the moment of the commit: the next read asks the same row."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, NotFound
from registry.access.facts import load_guarded
from registry.access.naming import granted_resources
from registry.access.tables import AccessGrant, AccessRequest
from registry.access.telling import tell_withdrawn
from registry.access.visibility import visible_access_grants
from registry.datasets.stewards import require_steward, stewarded
from registry.texts import require_text

WITHDRAW = "registry:access:withdraw"
REASON_CHARACTERS_MAX = 5_000


class AlreadyEnded(Conflict):
    """A grant that has ended or was withdrawn."""

    code = "ALREADY_ENDED"


async def withdraw_access(
    session: WriteSession, actor: Actor, *, access_grant_id: UUID, reason: str, at: datetime, new_id: IdSource
) -> UUID:
    """End the grant now and return its id. A steward of any of the data may, and whoever asked for it or has it.

    Raises NotFound, StewardRequired, AlreadyEnded.
    """
    text = require_text(reason, "reason", characters_max=REASON_CHARACTERS_MAX)
    statement = select(AccessGrant.id).where(AccessGrant.id == access_grant_id, visible_access_grants(actor))
    if await session.scalar(statement) is None:
        raise NotFound("There is no such access grant.", field="accessGrantId")
    (grant,) = await lock_rows(session, AccessGrant, [access_grant_id])
    resources = await _resources(session, grant.id)
    await _require_right(session, actor, grant, resources)
    if grant.withdrawn_at is not None or grant.valid_to <= at:
        ended = min(grant.valid_to, grant.withdrawn_at or grant.valid_to)
        raise AlreadyEnded(f"This grant ended at {ended:%Y-%m-%d %H:%M} UTC already.", field="accessGrantId")
    grant.withdrawn_at = at
    grant.withdrawn_by = actor.id
    grant.withdrawal_reason = text
    await session.flush()
    await record(
        session,
        actor,
        action=WITHDRAW,
        team_id=grant.beneficiary_team_id,
        resources=resources,
        purpose=grant.purpose,
        access_grant_id=grant.id,
        before={"validTo": grant.valid_to},
        after={"validTo": at, "reason": text},
        at=at,
        new_id=new_id,
    )
    await tell_withdrawn(session, actor, grant, at=at, new_id=new_id)
    return grant.id


async def _resources(session: ReadSession, grant_id: UUID) -> list[ResourceRef]:
    """What the grant names, and the data sets behind it."""
    named = await granted_resources(session, grant_id)
    guarded = await load_guarded(session, named)
    wholes = {ResourceRef("Dataset", each) for facts in guarded.values() for each in facts.deciding_datasets}
    return sorted({*named, *wholes})


async def _require_right(session: ReadSession, actor: Actor, grant: AccessGrant, resources: list[ResourceRef]) -> None:
    if actor.shows_token_for(WITHDRAW) and await _is_theirs(session, actor, grant):
        return
    dataset_ids = [resource.id for resource in resources if resource.type == "Dataset"]
    if not await stewarded(session, actor, dataset_ids):
        await require_steward(session, actor, dataset_ids, permission=WITHDRAW, team_id=grant.beneficiary_team_id)


async def _is_theirs(session: ReadSession, actor: Actor, grant: AccessGrant) -> bool:
    """Whether it is for the actor by name, or they asked for it."""
    asked = select(AccessRequest.id).where(AccessRequest.id == grant.request_id, AccessRequest.requester_id == actor.id)
    return actor.id == grant.beneficiary_user_id or await session.scalar(asked) is not None
