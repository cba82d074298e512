"""Who is told of unusual reading: those who answer for the data, and those whose role shows them alerts."""

from datetime import datetime

from sqlalchemy import select

from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import Team
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.recipients import people_who_may
from guildhall.inbox.telling import tell
from registry.datasets.tables import Dataset, DatasetSteward
from registry.volume.policy import READ_ALERTS
from registry.volume.tables import AccessAlert


async def tell_alert(session: WriteSession, alert: AccessAlert, *, at: datetime, new_id: IdSource) -> None:
    """Tell the stewards of the data set, and whoever may read alerts of its team, as auditors may of every team."""
    statement = (
        select(Team.id, Team.name, Dataset.name)
        .join(Dataset, Dataset.team_id == Team.id)
        .where(Dataset.id == alert.dataset_id)
    )
    team_id, team, name = (await session.execute(statement)).one()
    stewards = await session.scalars(
        select(DatasetSteward.user_id).where(DatasetSteward.dataset_id == alert.dataset_id)
    )
    readers = await people_who_may(session, READ_ALERTS, team_id=team_id, at=at)
    await tell(
        session,
        EventKind.ACCESS_ALERT,
        subject=ResourceRef("AccessAlert", alert.id),
        team_id=team_id,
        recipients=readers.union(stewards),
        facts={"dataset": f"{team}/{name}", "action": alert.action, "message": alert.message},
        at=at,
        new_id=new_id,
    )
