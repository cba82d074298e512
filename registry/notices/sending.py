"""Sending notices as JSON to one address of the organisation, at least once each.

Without an address they are done with: GraphQL lists what they are about (`accessGrantsAboutToEnd`, `accessAlerts`).
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select

from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database, ReadSession
from guildhall.outbox.outbox import Claim, claim, complete, fail
from registry.access.tables import AccessGrant, AccessGrantResource
from registry.notices.queue import TOPIC, NoticeKind
from registry.volume.tables import AccessAlert

AT_ONCE_MAX = 20
ANSWER_SECONDS_MAX = 10
LEASE_SECONDS = 600


async def send_notices(
    database: Database,
    url: str,
    *,
    owner: str,
    clock: Clock,
    new_id: IdSource,
    transport: httpx.AsyncBaseTransport | None = None,
) -> int:
    """Send what is due, one after the other; how many were taken. What the address refuses is tried again later."""
    claims = await claim(
        database, [TOPIC], owner=owner, clock=clock, lease_seconds=LEASE_SECONDS, limit=AT_ONCE_MAX, new_id=new_id
    )
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS_MAX, transport=transport) as client:
        for claimed in claims:
            problem = await _send(database, client, url, claimed, at=clock.now()) if url else None
            async with database.transaction() as session:
                if problem is None:
                    await complete(session, claimed, at=clock.now())
                else:
                    await fail(session, claimed, problem, at=clock.now())
    return len(claims)


async def _send(database: Database, client: httpx.AsyncClient, url: str, claimed: Claim, *, at: datetime) -> str | None:
    """What went wrong, if anything. `id` stays the same when it is sent again."""
    kind, key = NoticeKind(claimed.payload["kind"]), UUID(claimed.payload["id"])
    async with database.read() as session:
        about = await (_ending(session, key, at) if kind is NoticeKind.ACCESS_ENDS else _alert(session, key))
    if about is None:
        return None
    try:
        answer = await client.post(url, json={"id": str(claimed.id), "kind": kind.value, **about})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{type(error).__name__}: {error}"
    return None if answer.is_success else f"the address answered {answer.status_code}"


async def _ending(session: ReadSession, grant_id: UUID, at: datetime) -> dict[str, Any] | None:
    """The grant that is about to end; None where it has ended already."""
    grant = await session.get_one(AccessGrant, grant_id)
    if grant.withdrawn_at is not None or grant.valid_to <= at:
        return None
    statement = select(AccessGrantResource.resource_id).where(AccessGrantResource.grant_id == grant_id)
    return {
        "accessGrantId": str(grant.id),
        "teamId": None if grant.beneficiary_team_id is None else str(grant.beneficiary_team_id),
        "personId": None if grant.beneficiary_user_id is None else str(grant.beneficiary_user_id),
        "purpose": grant.purpose,
        "validTo": grant.valid_to.isoformat(),
        "resourceIds": sorted(str(each) for each in await session.scalars(statement)),
        "message": f"This access ends at {grant.valid_to:%Y-%m-%d %H:%M} UTC; ask with requestAccess to renew it.",
    }


async def _alert(session: ReadSession, alert_id: UUID) -> dict[str, Any]:
    alert = await session.get_one(AccessAlert, alert_id)
    return {
        "alertId": str(alert.id),
        "datasetId": str(alert.dataset_id),
        "personId": None if alert.user_id is None else str(alert.user_id),
        "teamId": None if alert.team_id is None else str(alert.team_id),
        "action": alert.action,
        "message": alert.message,
    }
