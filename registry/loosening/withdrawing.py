"""Ending a loosening: the restriction is back in the same transaction, for the version and all that came from it."""

from datetime import datetime
from uuid import UUID

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from registry.access.withdrawal import REASON_CHARACTERS_MAX, AlreadyEnded
from registry.datasets.stewards import stewarded
from registry.lineage.restrictions import hold_sources, recompute_effective
from registry.loosening.asking import LOOSEN, as_json
from registry.loosening.deciding import datasets_of, find_loosening, loosening_refs, team_of
from registry.loosening.tables import LooseningState
from registry.loosening.telling import tell_loosening_withdrawn
from registry.loosening.visibility import DECIDE
from registry.texts import require_text

_OPEN = (LooseningState.PENDING, LooseningState.APPROVED)


async def withdraw_loosening(
    session: WriteSession, actor: Actor, *, loosening_id: UUID, reason: str, at: datetime, new_id: IdSource
) -> UUID:
    """End it, decided or not, and return its id.

    For a steward of any of the data, who asked for it, and whoever may ask in the model's team. Raises NotFound,
    PermissionRefused, AlreadyEnded, InvalidText.
    """
    text = require_text(reason, "reason", characters_max=REASON_CHARACTERS_MAX)
    loosening = await find_loosening(session, actor, loosening_id)
    dataset_ids = await datasets_of(session, loosening_id)
    refs = loosening_refs(loosening, dataset_ids)
    team_id = await team_of(session, loosening)
    as_steward = actor.shows_token_for(DECIDE) and await stewarded(session, actor, dataset_ids)
    as_requester = actor.id == loosening.requester_id and actor.shows_token_for(LOOSEN)
    if not as_steward and not as_requester:
        require(actor, LOOSEN, team_id=team_id, resource=refs[0])
    if loosening.state not in _OPEN:
        raise AlreadyEnded(f"This was {loosening.state.lower()} already.", field="looseningId")
    before = loosening.state
    await hold_sources(session, loosening.model_version_id)
    loosening.state = LooseningState.WITHDRAWN
    loosening.withdrawn_at, loosening.withdrawn_by, loosening.withdrawal_reason = at, actor.id, text
    await session.flush()
    changed = await recompute_effective(session, model_version_ids=[loosening.model_version_id])
    await record(
        session,
        actor,
        action=DECIDE if as_steward else LOOSEN,
        team_id=team_id,
        resources=refs,
        justification=text,
        before={"state": before},
        after={"looseningId": loosening.id, "state": loosening.state, **as_json(loosening), "versions": changed},
        at=at,
        new_id=new_id,
    )
    await tell_loosening_withdrawn(session, actor, loosening, dataset_ids, at=at, new_id=new_id)
    return loosening.id
