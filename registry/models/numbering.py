"""Making the row of a new version: numbers count up per model and are never given twice."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, update

from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from registry.datasets.tables import Classification
from registry.models.tables import Model, ModelVersion, ModelVersionStatus


@dataclass(frozen=True)
class Producer:
    """The attempt of the job that makes a version."""

    job_id: UUID
    attempt_id: UUID


async def insert_version(
    session: WriteSession,
    *,
    model_id: UUID,
    parameters: Mapping[str, Any],
    producer: Producer | None,
    created_by: UUID,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """A DRAFT under the next number; the model's row is held to the transaction's end: numbers never collide."""
    number = await session.scalar(
        update(Model)
        .where(Model.id == model_id)
        .values(versions_made=Model.versions_made + 1)
        .returning(Model.versions_made)
        .execution_options(synchronize_session=False)
    )
    version_id = new_id()
    await session.execute(
        insert(ModelVersion).values(
            id=version_id,
            model_id=model_id,
            number=number,
            status=ModelVersionStatus.DRAFT,
            parameters=dict(parameters),
            effective_classification=Classification.PUBLIC,
            produced_by_job_id=producer and producer.job_id,
            produced_by_attempt_id=producer and producer.attempt_id,
            created_by=created_by,
            created_at=at,
        )
    )
    return version_id
