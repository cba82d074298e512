"""Under which grants a run may have read its inputs: what decides whether a narrowed grant opens what came of it."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select

from guildhall.auth.actor import JobClaims
from guildhall.db.transaction import ReadSession
from registry.access.tables import AccessGrant, AccessGrantResource
from registry.datasets.tables import CLOSED, Dataset, DatasetVersion


async def grants_of_run(
    session: ReadSession, claims: JobClaims, versions: Collection[UUID], *, since: datetime | None, at: datetime
) -> Mapping[UUID, tuple[UUID, ...]]:
    """For each version of a data set all grants of the job's team and person that counted at some time since.

    Not only the one that opened it first: the script shares the attempt's token, and may have read under each.
    `versions` are those that the job opened under a grant; of others, of data that goes by role, and without `since`
    nothing is known: all of it may have been read.
    """
    if since is None or not versions:
        return {}
    statement = (
        select(DatasetVersion.id, AccessGrant.id)
        .join(
            AccessGrantResource,
            or_(
                AccessGrantResource.resource_id == DatasetVersion.id,
                AccessGrantResource.resource_id == DatasetVersion.dataset_id,
            ),
        )
        .join(AccessGrant, AccessGrant.id == AccessGrantResource.grant_id)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .where(
            DatasetVersion.id.in_(versions),
            Dataset.classification.in_(CLOSED),
            or_(
                AccessGrant.beneficiary_team_id == claims.team_id,
                AccessGrant.beneficiary_user_id == claims.submitted_by,
            ),
            AccessGrant.valid_from <= at,
            AccessGrant.valid_to > since,
            or_(AccessGrant.withdrawn_at.is_(None), AccessGrant.withdrawn_at > since),
        )
        .order_by(DatasetVersion.id, AccessGrant.id)
        .distinct()
    )
    found: dict[UUID, list[UUID]] = {}
    for version_id, grant_id in await session.execute(statement):
        found.setdefault(version_id, []).append(grant_id)
    return {version_id: tuple(grants) for version_id, grants in found.items()}
