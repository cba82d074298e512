"""Which Guildhall this is, to clusters that serve several: an id that is made once."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from guildhall.clock import IdSource
from guildhall.db.transaction import Database
from scheduler.clusters.tables import Installation


async def installation_id(database: Database, *, at: datetime, new_id: IdSource) -> str:
    """The id, as labels have it; whoever asks first makes it."""
    async with database.read() as session:
        found = await session.scalar(select(Installation.id))
    if found is None:
        async with database.transaction() as session:
            row = {"id": new_id(), "single": True, "created_at": at}
            await session.execute(insert(Installation).values(row).on_conflict_do_nothing(index_elements=["single"]))
            found = await session.scalar(select(Installation.id))
    assert found is not None, "it has just been made"
    return str(found)
