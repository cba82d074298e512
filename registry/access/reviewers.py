"""Reviewers whom a risk tier asks for: named people for ethics or the domain, whose approval access then needs."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import User
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from registry.access.tables import ReviewSubject, RiskReviewer
from registry.models.tables import Model, ModelVersion, RiskTier
from registry.people import find_people

NAME = "registry:reviewer:name"


async def reviews_needed(session: ReadSession, named: Iterable[ResourceRef]) -> dict[ReviewSubject, set[UUID]]:
    """For each subject that the risk of a named model asks for, the people still here one of whom has to approve.

    Where all of them have left, nobody can, until an administrator names others: a review is not dropped by leaving.
    """
    ids = [resource.id for resource in named if resource.type == "ModelVersion"]
    if not ids:
        return {}
    statement = (
        select(RiskReviewer.subject, RiskReviewer.user_id, User.deactivated_at)
        .join(Model, Model.risk_tier == RiskReviewer.risk_tier)
        .join(ModelVersion, ModelVersion.model_id == Model.id)
        .join(User, User.id == RiskReviewer.user_id)
        .where(ModelVersion.id.in_(ids))
        .distinct()
    )
    found: dict[ReviewSubject, set[UUID]] = {}
    for subject, user_id, left_at in await session.execute(statement):
        people = found.setdefault(ReviewSubject(subject), set())
        if left_at is None:
            people.add(user_id)
    return found


async def name_reviewers(
    session: WriteSession,
    actor: Actor,
    *,
    risk_tier: RiskTier,
    subject: ReviewSubject,
    people: Sequence[str],
    at: datetime,
    new_id: IdSource,
) -> int:
    """Say by address who reviews access to models of this tier, and return how many; nobody asks for no review."""
    require(actor, NAME, team_id=None)
    wanted = await find_people(session, people, field="people") if people else []
    mine = (RiskReviewer.risk_tier == risk_tier) & (RiskReviewer.subject == subject)
    statement = select(RiskReviewer.user_id).where(mine).with_for_update()
    before = sorted((await session.scalars(statement)).all())
    await session.execute(delete(RiskReviewer).where(mine))
    if wanted:
        about = {"risk_tier": risk_tier, "subject": subject, "added_by": actor.id, "added_at": at}
        rows = [{**about, "user_id": user_id} for user_id in wanted]
        await session.execute(insert(RiskReviewer).on_conflict_do_nothing(), rows)
    await record(
        session,
        actor,
        action=NAME,
        before={"riskTier": risk_tier, "subject": subject, "people": before},
        after={"riskTier": risk_tier, "subject": subject, "people": sorted(wanted)},
        at=at,
        new_id=new_id,
    )
    return len(wanted)
