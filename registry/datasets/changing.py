"""Changing a data set's legal record or classification: what was made from it inherits that in the same transaction."""

from datetime import datetime
from uuid import UUID

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from registry.datasets.legal import LegalRecord, require_legal
from registry.datasets.lookup import dataset_refs
from registry.datasets.registration import legal_columns
from registry.datasets.stewards import STEWARD, find_as_keeper, find_as_steward
from registry.datasets.tables import Classification, Dataset, WithdrawalPolicy
from registry.lineage.restrictions import recompute_effective


async def update_legal_record(
    session: WriteSession,
    actor: Actor,
    *,
    dataset_id: UUID,
    classification: Classification | None,
    legal: LegalRecord,
    at: datetime,
    new_id: IdSource,
) -> list[UUID]:
    """Replace the legal record, and the classification if one is named; only a steward may.

    Returns the model versions whose inherited restrictions changed with it. Grants stay, but a purpose that is not
    permitted any more opens nothing from now on. Raises NotFound, StewardRequired, InvalidInput.
    """
    await find_as_steward(session, actor, dataset_id)
    checked = await require_legal(session, legal, field="legal", at=at)
    (dataset,) = await lock_rows(session, Dataset, [dataset_id])
    wanted = {**legal_columns(checked), "classification": classification or Classification(dataset.classification)}
    before = {name: getattr(dataset, name) for name in wanted}
    for name, value in wanted.items():
        setattr(dataset, name, value)
    await session.flush()
    changed = await recompute_effective(session, dataset_ids=[dataset_id])
    await record(
        session,
        actor,
        action=STEWARD,
        team_id=dataset.team_id,
        resources=dataset_refs(dataset_id),
        before=before,
        after=wanted,
        at=at,
        new_id=new_id,
    )
    return changed


async def set_withdrawal_policy(
    session: WriteSession,
    actor: Actor,
    *,
    dataset_id: UUID,
    policy: WithdrawalPolicy,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Say what becomes of running jobs when access to the data set ends. Raises NotFound, StewardRequired."""
    await find_as_keeper(session, actor, dataset_id, at=at)
    (dataset,) = await lock_rows(session, Dataset, [dataset_id])
    before = dataset.withdrawal_policy
    dataset.withdrawal_policy = policy
    await session.flush()
    await record(
        session,
        actor,
        action=STEWARD,
        team_id=dataset.team_id,
        resources=dataset_refs(dataset_id),
        before={"withdrawalPolicy": before},
        after={"withdrawalPolicy": policy},
        at=at,
        new_id=new_id,
    )
