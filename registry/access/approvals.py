"""Who has approved a request so far, to what extent, and who is still missing."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import insert, select

from guildhall.auth.resources import ResourceRef
from guildhall.db.transaction import ReadSession, WriteSession
from registry.access.facts import Guarded
from registry.access.naming import KIND_OF, TYPE_OF
from registry.access.narrowing import Extent
from registry.access.needs import stewards_needed
from registry.access.tables import AccessApproval, AccessRequest, Capacity, ReviewSubject
from registry.minimisation.filters import data_filter


class Approver(NamedTuple):
    """One who approved."""

    user_id: UUID
    capacity: str


async def load_approvals(session: ReadSession, request_id: UUID) -> Sequence[AccessApproval]:
    """All approvals of a request, oldest first."""
    statement = select(AccessApproval).where(AccessApproval.request_id == request_id)
    return (await session.scalars(statement.order_by(AccessApproval.approved_at, AccessApproval.user_id))).all()


def approved_extent(
    request: AccessRequest, named: Sequence[ResourceRef], approvals: Sequence[AccessApproval]
) -> Extent:
    """What the last approval left of the request; all of it where there is none yet."""
    if not approvals:
        return Extent(resources=tuple(named), duration_seconds=request.duration_seconds)
    last = approvals[-1]
    limits = data_filter(last.columns, last.first_rows, last.sample_millionths)
    return Extent(
        resources=tuple(
            ResourceRef(TYPE_OF[kind], each) for kind, each in zip(last.resource_kinds, last.resource_ids, strict=True)
        ),
        duration_seconds=last.duration_seconds,
        columns=None if last.columns is None else tuple(last.columns),
        sample=None if limits is None else limits.sample,
    )


async def add_approval(
    session: WriteSession,
    request_id: UUID,
    user_id: UUID,
    capacity: Capacity,
    extent: Extent,
    *,
    reason: str | None,
    at: datetime,
) -> None:
    """Write one; nobody approves twice, which the primary key holds too."""
    values = {
        "request_id": request_id,
        "user_id": user_id,
        "capacity": capacity,
        "approved_at": at,
        "reason": reason,
        "duration_seconds": extent.duration_seconds,
        "resource_kinds": [KIND_OF[resource.type] for resource in extent.resources],
        "resource_ids": [resource.id for resource in extent.resources],
        "columns": None if extent.columns is None else list(extent.columns),
        "first_rows": None if extent.sample is None else extent.sample.first_rows,
        "sample_millionths": None if extent.sample is None else extent.sample.millionths,
    }
    await session.execute(insert(AccessApproval), [values])


def still_missing(
    request: AccessRequest,
    guarded: Collection[Guarded],
    reviewed: Mapping[ReviewSubject, Collection[UUID]],
    approvals: Collection[AccessApproval | Approver],
) -> list[str]:
    """In words, who has to approve before there is a grant; empty when nobody."""
    stewards = sum(approval.capacity == Capacity.STEWARD for approval in approvals)
    lacking = stewards_needed(request.basis, guarded) - stewards
    missing = [f"{lacking} more steward" + ("s" if lacking > 1 else "")] if lacking > 0 else []
    people = {approval.user_id for approval in approvals}
    return [
        *missing,
        *(f"a reviewer of {subject.lower()}" for subject in sorted(reviewed) if not people & set(reviewed[subject])),
    ]
