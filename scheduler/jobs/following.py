"""Telling who follows a job that it has changed; every function that writes what followers are shown does."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.db.announcing import announce_change

TOPIC = "job"


def job_changed(session: AsyncSession, job_id: UUID) -> None:
    """Let followers look, once this transaction has committed."""
    announce_change(session, TOPIC, job_id)
