"""Deactivating a person, in one transaction: tokens, roles and grants end, stewardships and reviews are handed over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding, User
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, Invalid, NotFound
from guildhall.organisation.bindings import require_administrator
from guildhall.organisation.sessions import sign_out_everywhere
from guildhall.organisation.tokens import revoke_tokens_of
from registry.access.tables import AccessGrant, RiskReviewer
from registry.access.withdrawal import WITHDRAW
from registry.datasets.tables import Classification, Dataset, DatasetSteward
from registry.people import find_people
from registry.texts import require_text

CHANGE = "guildhall:user:change"
REASON_CHARACTERS_MAX = 2_000
NAMED_MAX = 10
"""How many data sets a refusal names."""


class AlreadyLeft(Conflict):
    """Somebody who was deactivated before."""

    code = "ALREADY_DEACTIVATED"


class NotYourself(Invalid):
    """Nobody ends their own account, so that somebody else always knows of it."""

    code = "NOT_YOURSELF"


class SuccessorRequired(Invalid):
    """Something would be orphaned."""

    code = "SUCCESSOR_REQUIRED"


@dataclass(frozen=True, kw_only=True)
class Departure:
    """What ended and what was handed over."""

    user_id: UUID
    tokens: int
    roles: int
    access_grants: tuple[UUID, ...]
    datasets: tuple[UUID, ...]
    reviews: int


async def deactivate_person(
    session: WriteSession,
    actor: Actor,
    *,
    user_id: UUID,
    successor: str | None,
    reason: str,
    at: datetime,
    new_id: IdSource,
) -> Departure:
    """End all that a person may do, and hand what they answered for to the successor (by address).

    Without a successor only where nothing would be orphaned: each data set keeps another steward (restricted ones two),
    each review another reviewer. What teams own stays with the teams. Raises NotFound, AlreadyLeft, NotYourself,
    SuccessorRequired, InvalidInput, LastAdministrator, PermissionRefused.
    """
    require(actor, CHANGE, team_id=None, resource=ResourceRef("User", user_id))
    text = require_text(reason, "reason", characters_max=REASON_CHARACTERS_MAX)
    found = await lock_rows(session, User, [user_id])
    if not found:
        raise NotFound("There is no such person.", field="userId")
    if user_id == actor.id:
        raise NotYourself("Nobody deactivates themself: ask another administrator.", field="userId")
    if found[0].deactivated_at is not None:
        raise AlreadyLeft(f"{found[0].name} was deactivated already.", field="userId")
    heir_id = await _find_successor(session, user_id, successor)
    datasets = await _hand_over_data(session, actor, user_id, heir_id, at=at)
    reviews = await _hand_over_reviews(session, actor, user_id, heir_id, at=at)
    departure = Departure(
        user_id=user_id,
        access_grants=await _end_grants(session, actor, user_id, text, at=at, new_id=new_id),
        tokens=await _end_tokens(session, actor, user_id, at=at, new_id=new_id),
        roles=await _end_roles(session, user_id),
        datasets=datasets,
        reviews=reviews,
    )
    found[0].deactivated_at = at
    await session.flush()
    await require_administrator(session, field="userId")
    await record(
        session,
        actor,
        action=CHANGE,
        resources=[ResourceRef("User", user_id), *(ResourceRef("Dataset", each) for each in datasets)],
        justification=text,
        before={"stewardOf": datasets, "roles": departure.roles, "reviews": reviews},
        after={"deactivatedAt": at, "successor": heir_id, "accessGrants": departure.access_grants},
        at=at,
        new_id=new_id,
    )
    return departure


async def _find_successor(session: ReadSession, user_id: UUID, email: str | None) -> UUID | None:
    if email is None:
        return None
    (heir_id,) = await find_people(session, [email], field="successor")
    if heir_id == user_id:
        raise SuccessorRequired("The successor is somebody else.", field="successor")
    return heir_id


async def _hand_over_data(
    session: WriteSession, actor: Actor, user_id: UUID, heir_id: UUID | None, *, at: datetime
) -> tuple[UUID, ...]:
    """The data sets of which they were a steward, whose rows are held: two who leave at once wait for each other."""
    mine = select(DatasetSteward.dataset_id).where(DatasetSteward.user_id == user_id)
    rows = await lock_rows(session, Dataset, (await session.scalars(mine)).all())
    if heir_id is None:
        await _require_not_orphaned(session, user_id, rows)
    elif rows:
        values = [{"dataset_id": row.id, "user_id": heir_id, "added_by": actor.id, "added_at": at} for row in rows]
        await session.execute(insert(DatasetSteward).on_conflict_do_nothing(), values)
    await session.execute(delete(DatasetSteward).where(DatasetSteward.user_id == user_id))
    return tuple(sorted(row.id for row in rows))


async def _require_not_orphaned(session: ReadSession, user_id: UUID, rows: Sequence[Dataset]) -> None:
    statement = (
        select(DatasetSteward.dataset_id)
        .join(User, User.id == DatasetSteward.user_id)
        .where(DatasetSteward.dataset_id.in_([row.id for row in rows]))
        .where(User.id != user_id, User.deactivated_at.is_(None))
    )
    left = list((await session.scalars(statement)).all())
    needed = {row.id: 2 if row.classification == Classification.RESTRICTED else 1 for row in rows}
    orphaned = sorted(row.name for row in rows if left.count(row.id) < needed[row.id])
    if orphaned:
        more = "" if len(orphaned) <= NAMED_MAX else f" and {len(orphaned) - NAMED_MAX} more"
        raise SuccessorRequired(
            f"Too few stewards would be left of {', '.join(orphaned[:NAMED_MAX])}{more}. "
            "Name a successor, who becomes their steward.",
            field="successor",
        )


async def _hand_over_reviews(
    session: WriteSession, actor: Actor, user_id: UUID, heir_id: UUID | None, *, at: datetime
) -> int:
    other = aliased(RiskReviewer)
    another = exists().where(
        other.risk_tier == RiskReviewer.risk_tier,
        other.subject == RiskReviewer.subject,
        other.user_id != user_id,
        User.id == other.user_id,
        User.deactivated_at.is_(None),
    )
    statement = select(RiskReviewer.risk_tier, RiskReviewer.subject, another).where(RiskReviewer.user_id == user_id)
    rows = (await session.execute(statement.with_for_update(of=RiskReviewer))).all()
    lonely = [f"{subject} of {tier}" for tier, subject, others in rows if not others]
    if heir_id is None and lonely:
        message = f"Nobody else reviews {', '.join(lonely)}. Name a successor, who becomes the reviewer."
        raise SuccessorRequired(message, field="successor")
    if heir_id is not None and rows:
        about = {"user_id": heir_id, "added_by": actor.id, "added_at": at}
        values = [{"risk_tier": tier, "subject": subject, **about} for tier, subject, _ in rows]
        await session.execute(insert(RiskReviewer).on_conflict_do_nothing(), values)
    await session.execute(delete(RiskReviewer).where(RiskReviewer.user_id == user_id))
    return len(rows)


async def _end_tokens(session: WriteSession, actor: Actor, user_id: UUID, *, at: datetime, new_id: IdSource) -> int:
    signed_in = await sign_out_everywhere(session, actor, user_id, at=at, new_id=new_id)
    own = await revoke_tokens_of(
        session, actor, subject_kind=ActorKind.USER, subject_ids=[user_id], at=at, new_id=new_id
    )
    return signed_in + own


async def _end_roles(session: WriteSession, user_id: UUID) -> int:
    mine = (RoleBinding.subject_kind == ActorKind.USER.value) & (RoleBinding.subject_id == user_id)
    return len((await session.execute(delete(RoleBinding).where(mine).returning(RoleBinding.id))).all())


async def _end_grants(
    session: WriteSession, actor: Actor, user_id: UUID, reason: str, *, at: datetime, new_id: IdSource
) -> tuple[UUID, ...]:
    """Their own grants; what they read as members of teams ended with their roles."""
    live = select(AccessGrant.id).where(
        AccessGrant.beneficiary_user_id == user_id, AccessGrant.withdrawn_at.is_(None), AccessGrant.valid_to > at
    )
    held = await lock_rows(session, AccessGrant, await session.scalars(live))
    ended = [grant for grant in held if grant.withdrawn_at is None]  # somebody may have ended one meanwhile
    for grant in ended:
        grant.withdrawn_at = at
        grant.withdrawn_by = actor.id
        grant.withdrawal_reason = reason
        await record(
            session,
            actor,
            action=WITHDRAW,
            resources=[ResourceRef("User", user_id)],
            purpose=grant.purpose,
            access_grant_id=grant.id,
            after={"validTo": at, "reason": reason},
            at=at,
            new_id=new_id,
        )
    return tuple(grant.id for grant in ended)
