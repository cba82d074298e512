"""Who is told of a loosening: the stewards who are asked, who asked, and all of them when it ends."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.telling import tell
from registry.access.telling import names_of
from registry.datasets.tables import DatasetSteward
from registry.loosening.tables import Loosening, RestrictedProperty
from registry.models.tables import Model, ModelVersion


async def tell_loosening_asked(
    session: WriteSession,
    actor: Actor,
    loosening: Loosening,
    dataset_ids: Collection[UUID],
    *,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Tell the stewards of every data set that stands in the way, but not who asks."""
    await _tell(
        session,
        EventKind.LOOSENING_ASKED,
        loosening,
        recipients=await _stewards(session, dataset_ids) - {actor.id},
        facts={"requester": actor.name, "justification": loosening.justification},
        at=at,
        new_id=new_id,
    )


async def tell_loosening_decided(
    session: WriteSession, actor: Actor, loosening: Loosening, *, at: datetime, new_id: IdSource
) -> None:
    """Tell who asked."""
    await _tell(
        session,
        EventKind.LOOSENING_DECIDED,
        loosening,
        recipients={loosening.requester_id},
        facts={"state": loosening.state, "by": actor.name, "reason": loosening.decision_reason},
        at=at,
        new_id=new_id,
    )


async def tell_loosening_withdrawn(
    session: WriteSession,
    actor: Actor,
    loosening: Loosening,
    dataset_ids: Collection[UUID],
    *,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Tell who asked and the stewards, but not who ended it."""
    await _tell(
        session,
        EventKind.LOOSENING_WITHDRAWN,
        loosening,
        recipients=({loosening.requester_id} | await _stewards(session, dataset_ids)) - {actor.id},
        facts={"by": actor.name, "reason": loosening.withdrawal_reason},
        at=at,
        new_id=new_id,
    )


async def _tell(
    session: WriteSession,
    kind: EventKind,
    loosening: Loosening,
    *,
    recipients: Collection[UUID],
    facts: dict[str, object],
    at: datetime,
    new_id: IdSource,
) -> None:
    statement = (
        select(Model.team_id)
        .join(ModelVersion, ModelVersion.model_id == Model.id)
        .where(ModelVersion.id == loosening.model_version_id)
    )
    await tell(
        session,
        kind,
        subject=ResourceRef("Loosening", loosening.id),
        team_id=await session.scalar(statement),
        recipients=recipients,
        facts={
            **facts,
            "resources": await names_of(session, [ResourceRef("ModelVersion", loosening.model_version_id)]),
            "to": wanted_in_words(loosening),
        },
        at=at,
        new_id=new_id,
    )


def wanted_in_words(loosening: Loosening) -> str:
    """What the version is to be, as the end of a sentence."""
    match RestrictedProperty(loosening.property):
        case RestrictedProperty.CLASSIFICATION:
            return f"classified {loosening.classification}"
        case RestrictedProperty.PERMITTED_PURPOSES:
            return f"permitted for {', '.join(loosening.permitted_purposes or ())} as well"
        case RestrictedProperty.REGIONS:
            return f"allowed in {', '.join(loosening.regions or ())} as well"
        case RestrictedProperty.RETENTION:
            day = loosening.retention_ends_on
            return "kept without an end" if day is None else f"kept until {day}"


async def _stewards(session: ReadSession, dataset_ids: Collection[UUID]) -> set[UUID]:
    statement = select(DatasetSteward.user_id).where(DatasetSteward.dataset_id.in_(sorted(dataset_ids)))
    return set(await session.scalars(statement))
