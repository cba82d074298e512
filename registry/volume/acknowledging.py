"""Saying what was found about an alert: by somebody who answers for the data or audits, and never by the reader."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused, require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from guildhall.errors import Conflict, NotFound
from registry.datasets.stewards import stewarded
from registry.datasets.tables import Dataset
from registry.texts import require_text
from registry.volume.policy import visible_access_alerts
from registry.volume.tables import AccessAlert

ACKNOWLEDGE = "registry:alert:acknowledge"
NOTE_CHARACTERS_MAX = 1_000


class ReaderCannotAcknowledge(Refused):
    """Nobody closes the alert about what they read themself, and no program closes any."""

    code = "READER_CANNOT_ACKNOWLEDGE"


class AlreadyAcknowledged(Conflict):
    """It was closed, and nothing has come to it since."""

    code = "ALREADY_ACKNOWLEDGED"


async def acknowledge_alert(
    session: WriteSession, actor: Actor, *, alert_id: UUID, note: str, at: datetime, new_id: IdSource
) -> None:
    """Close the alert with a note; reading that crosses the same budget in its window opens it again.

    For stewards of the data set and whoever holds the permission for its team. Raises NotFound, PermissionRefused,
    ReaderCannotAcknowledge, AlreadyAcknowledged, InvalidInput.
    """
    text = require_text(note, "note", characters_max=NOTE_CHARACTERS_MAX)
    statement = select(AccessAlert.id).where(AccessAlert.id == alert_id, visible_access_alerts(actor))
    if await session.scalar(statement) is None:
        raise NotFound("There is no such alert.", field="accessAlertId")
    (alert,) = await lock_rows(session, AccessAlert, [alert_id])
    team_id = (await session.scalars(select(Dataset.team_id).where(Dataset.id == alert.dataset_id))).one()
    dataset = ResourceRef("Dataset", alert.dataset_id)
    if not await stewarded(session, actor, [alert.dataset_id]):
        require(actor, ACKNOWLEDGE, team_id=team_id, resource=dataset)
    if actor.kind is not ActorKind.USER or actor.id == alert.user_id:
        message = "An alert is closed by a person who is not whom it is about: ask another steward, or an auditor."
        raise ReaderCannotAcknowledge(message, permission=ACKNOWLEDGE, resources=[dataset], team_id=team_id)
    if alert.acknowledged_at is not None:
        raise AlreadyAcknowledged("This alert was acknowledged already.", field="accessAlertId")
    alert.acknowledged_at, alert.acknowledged_by, alert.acknowledgement = at, actor.id, text
    await session.flush()
    await record(
        session,
        actor,
        action=ACKNOWLEDGE,
        team_id=team_id,
        resources=[ResourceRef("AccessAlert", alert_id), dataset],
        after={"note": text, "rows": alert.rows, "bytes": alert.bytes},
        at=at,
        new_id=new_id,
    )
