"""Deciding a loosening: the stewards of every source that stands in the way, never who asked, approve or refuse it.

It is in force in the transaction of the last approval, for the version and everything that was made from it.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import case, func, insert, select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import User
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, NotFound
from registry.access.deciding import REASON_CHARACTERS_MAX, AlreadyDecided, DecisionKind, RequesterCannotDecide
from registry.datasets.stewards import StewardRequired, steward_emails, stewarded
from registry.datasets.tables import Classification, Dataset, DatasetSteward
from registry.lineage.restrictions import hold_sources, recompute_effective
from registry.loosening.asking import as_json
from registry.loosening.imposing import Wanted, imposing_sources, stricter_than_seen
from registry.loosening.tables import (
    Loosening,
    LooseningApproval,
    LooseningSource,
    LooseningState,
    RestrictedProperty,
)
from registry.loosening.telling import tell_loosening_decided
from registry.loosening.visibility import DECIDE, visible_loosenings
from registry.models.tables import Model, ModelVersion
from registry.texts import require_text


class SourcesChanged(Conflict):
    """What restricts the version is not what the request shows to those who decide."""

    code = "SOURCES_CHANGED"


async def decide_loosening(
    session: WriteSession,
    actor: Actor,
    *,
    loosening_id: UUID,
    decision: DecisionKind,
    reason: str | None,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Approve for the data sets that the actor stewards, or refuse for all; returns its id.

    Raises NotFound, StewardRequired, RequesterCannotDecide, AlreadyDecided, SourcesChanged, InvalidText.
    """
    loosening = await find_loosening(session, actor, loosening_id)
    dataset_ids = await datasets_of(session, loosening_id)
    mine = await _require_decider(session, actor, loosening, dataset_ids)
    if loosening.state != LooseningState.PENDING:
        raise AlreadyDecided(f"This was {loosening.state.lower()} already.", field="looseningId")
    refused = decision is DecisionKind.REFUSE
    text = require_text(reason, "reason", characters_max=REASON_CHARACTERS_MAX, empty_allowed=not refused)
    after: dict[str, object] = {"looseningId": loosening.id, "reason": text or None, **as_json(loosening)}
    if refused:
        _close(loosening, actor, LooseningState.REFUSED, text, at)
        await session.flush()
    else:
        await hold_sources(session, loosening.model_version_id)
        await _require_as_seen(session, loosening)
        await _approve(session, actor, loosening, mine, text, at=at)
        missing = await _still_missing(session, loosening.id)
        after |= {"approvedFor": sorted(mine), "missing": missing}
        if not missing:
            _close(loosening, actor, LooseningState.APPROVED, text, at)
            await session.flush()
            changed = await recompute_effective(session, model_version_ids=[loosening.model_version_id])
            after |= {"versions": changed}
    await record(
        session,
        actor,
        action=DECIDE,
        team_id=await team_of(session, loosening),
        resources=loosening_refs(loosening, dataset_ids),
        justification=loosening.justification,
        before={"state": LooseningState.PENDING},
        after={**after, "state": loosening.state},
        at=at,
        new_id=new_id,
    )
    if loosening.state != LooseningState.PENDING:
        await tell_loosening_decided(session, actor, loosening, at=at, new_id=new_id)
    return loosening.id


async def find_loosening(session: WriteSession, actor: Actor, loosening_id: UUID) -> Loosening:
    """The loosening, held, so that two stewards decide one after the other; NotFound where the actor cannot see it."""
    statement = select(Loosening.id).where(Loosening.id == loosening_id, visible_loosenings(actor))
    if await session.scalar(statement) is None:
        raise NotFound("There is no such loosening.", field="looseningId")
    (loosening,) = await lock_rows(session, Loosening, [loosening_id])
    return loosening


async def datasets_of(session: ReadSession, loosening_id: UUID) -> Sequence[UUID]:
    """The data sets whose stewards decide, in order."""
    statement = select(LooseningSource.dataset_id).where(LooseningSource.loosening_id == loosening_id)
    return (await session.scalars(statement.distinct().order_by(LooseningSource.dataset_id))).all()


def loosening_refs(loosening: Loosening, dataset_ids: Collection[UUID]) -> list[ResourceRef]:
    """What it is about, as authorisation and audit name it."""
    version = ResourceRef("ModelVersion", loosening.model_version_id)
    return [version, *(ResourceRef("Dataset", each) for each in dataset_ids)]


async def team_of(session: ReadSession, loosening: Loosening) -> UUID | None:
    """The team of the model."""
    statement = select(Model.team_id).join(ModelVersion, ModelVersion.model_id == Model.id)
    return await session.scalar(statement.where(ModelVersion.id == loosening.model_version_id))


def _close(loosening: Loosening, actor: Actor, state: LooseningState, text: str, at: datetime) -> None:
    loosening.state = state
    loosening.decided_at = at
    loosening.decided_by = actor.id
    loosening.decision_reason = text or None


async def _require_decider(
    session: ReadSession, actor: Actor, loosening: Loosening, dataset_ids: Collection[UUID]
) -> set[UUID]:
    """The data sets concerned that the actor stewards, at least one."""
    mine = await stewarded(session, actor, dataset_ids) if actor.shows_token_for(DECIDE) else set()
    refs = loosening_refs(loosening, dataset_ids)
    if not mine:
        emails = await steward_emails(session, dataset_ids)
        names = ", ".join(sorted({email for found in emails.values() for email in found})) or "an administrator"
        raise StewardRequired(
            f"Only a steward of the data concerned decides about this. Ask {names}.",
            permission=DECIDE,
            resources=refs,
            team_id=None,
            details={"permission": DECIDE},
        )
    if actor.id == loosening.requester_id:
        raise RequesterCannotDecide(
            "Nobody decides about what they asked for: another steward has to.",
            permission=DECIDE,
            resources=refs,
            team_id=None,
        )
    return mine


async def _require_as_seen(session: ReadSession, loosening: Loosening) -> None:
    """The stewards decide about what the request shows them; what has become stricter since needs a new one."""
    seen = select(LooseningSource.dataset_version_id).where(LooseningSource.loosening_id == loosening.id)
    imposing = await imposing_sources(session, loosening.model_version_id, _wanted(loosening))
    further = {each.dataset_version_id for each in imposing} - set(await session.scalars(seen))
    if further or await stricter_than_seen(session, loosening.id):
        raise SourcesChanged(
            "What restricts this version has become stricter since this was asked for. "
            "Refuse it; then it can be asked for again, and shows what is now.",
            field="looseningId",
        )


def _wanted(loosening: Loosening) -> Wanted:
    value = loosening.classification
    return Wanted(
        property=RestrictedProperty(loosening.property),
        classification=None if value is None else Classification(value),
        permitted_purposes=tuple(loosening.permitted_purposes or ()),
        regions=tuple(loosening.regions or ()),
        retention_ends_on=loosening.retention_ends_on,
    )


async def _approve(
    session: WriteSession, actor: Actor, loosening: Loosening, mine: set[UUID], text: str, *, at: datetime
) -> None:
    before = select(LooseningApproval.user_id).where(LooseningApproval.loosening_id == loosening.id)
    if actor.id in (await session.scalars(before)).all():
        message = "You have approved this already; it waits for somebody else."
        raise AlreadyDecided(message, field="looseningId")
    values = {
        "loosening_id": loosening.id,
        "user_id": actor.id,
        "dataset_ids": sorted(mine),
        "reason": text or None,
        "approved_at": at,
    }
    await session.execute(insert(LooseningApproval), [values])


async def _still_missing(session: ReadSession, loosening_id: UUID) -> list[str]:
    """In words, who has to approve before it is in force; an approval counts while its giver is still a steward."""
    concerned = select(LooseningSource.dataset_id).where(LooseningSource.loosening_id == loosening_id)
    approved = (
        select(func.count())
        .select_from(LooseningApproval)
        .join(User, User.id == LooseningApproval.user_id)
        .join(DatasetSteward, DatasetSteward.user_id == LooseningApproval.user_id)
        .where(LooseningApproval.loosening_id == loosening_id, DatasetSteward.dataset_id == Dataset.id)
        .where(LooseningApproval.dataset_ids.any_() == Dataset.id, User.deactivated_at.is_(None))
        .correlate(Dataset)
        .scalar_subquery()
    )
    needed = case((Dataset.classification == Classification.RESTRICTED, 2), else_=1)
    statement = (
        select(Dataset.name, needed - approved)
        .where(Dataset.id.in_(concerned), needed > approved)
        .order_by(Dataset.name, Dataset.id)
    )
    rows = await session.execute(statement)
    return [f"{lacking} more steward{'s' if lacking > 1 else ''} of {name}" for name, lacking in rows]
