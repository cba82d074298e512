"""Setting a data set's budgets for reading, and seeing the alerts: for its stewards, and who may by role."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, or_, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import team_rows
from guildhall.auth.subjects import ActorKind
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from guildhall.errors import Invalid
from registry.datasets.lookup import dataset_refs
from registry.datasets.stewards import STEWARD, find_as_keeper
from registry.datasets.tables import Dataset, DatasetSteward
from registry.volume.counting import Budget
from registry.volume.tables import AccessAlert, BudgetAction, BudgetScope, ReadBudget

READ_ALERTS = "registry:alert:read"
WINDOW_SECONDS_MIN, WINDOW_SECONDS_MAX = 60, 31 * 24 * 60 * 60
DELAY_SECONDS_MAX = 24 * 60 * 60
FACTOR_MIN, FACTOR_MAX = 2, 1_000
COUNT_MAX = 2**63 - 1


class InvalidBudget(Invalid):
    """A budget that means nothing."""

    code = "INVALID_READ_BUDGET"


async def set_read_budget(
    session: WriteSession, actor: Actor, *, dataset_id: UUID, budget: Budget, at: datetime, new_id: IdSource
) -> None:
    """Set the budget of one scope, in place of the one before or of the default. Raises NotFound, StewardRequired."""
    _require_sense(budget)
    dataset = await find_as_keeper(session, actor, dataset_id, at=at)
    await lock_rows(session, Dataset, [dataset_id])
    before = await session.get(ReadBudget, (dataset_id, budget.scope.value))
    values = {
        "window_seconds": budget.window_seconds,
        "rows_max": budget.rows_max,
        "bytes_max": budget.bytes_max,
        "habit_factor": budget.habit_factor,
        "action": budget.action.value,
        "delay_seconds": budget.delay_seconds,
    }
    was = None if before is None else {"scope": budget.scope} | {name: getattr(before, name) for name in values}
    await session.execute(
        insert(ReadBudget)
        .values(dataset_id=dataset_id, scope=budget.scope, set_by=actor.id, set_at=at, **values)
        .on_conflict_do_update(
            index_elements=["dataset_id", "scope"], set_={**values, "set_by": actor.id, "set_at": at}
        )
    )
    await record(
        session,
        actor,
        action=STEWARD,
        team_id=dataset.team_id,
        resources=dataset_refs(dataset_id),
        before=was,
        after={"scope": budget.scope, **values},
        at=at,
        new_id=new_id,
    )


async def remove_read_budget(
    session: WriteSession, actor: Actor, *, dataset_id: UUID, scope: BudgetScope, at: datetime, new_id: IdSource
) -> None:
    """Go back to the default. Raises NotFound, StewardRequired."""
    dataset = await find_as_keeper(session, actor, dataset_id, at=at)
    mine = (ReadBudget.dataset_id == dataset_id) & (ReadBudget.scope == scope)
    gone = (await session.execute(delete(ReadBudget).where(mine).returning(ReadBudget.scope))).one_or_none()
    if gone is not None:
        await record(
            session,
            actor,
            action=STEWARD,
            team_id=dataset.team_id,
            resources=dataset_refs(dataset_id),
            before={"scope": scope},
            at=at,
            new_id=new_id,
        )


def visible_access_alerts(actor: Actor) -> ColumnElement[bool]:
    """Rows of `access_alerts` about data that the actor stewards, or of teams where their role shows them alerts."""
    if actor.teams_where(READ_ALERTS) is None:
        return true()
    dataset = aliased(Dataset)
    answering = team_rows(actor, team_column=dataset.team_id, permission=READ_ALERTS)
    if actor.kind is ActorKind.USER and actor.shows_token_for(READ_ALERTS):
        steward = aliased(DatasetSteward)  # a statement may read stewards itself
        answering = or_(answering, exists().where(steward.dataset_id == dataset.id, steward.user_id == actor.id))
    return exists().where(dataset.id == AccessAlert.dataset_id, answering)


def _require_sense(budget: Budget) -> None:
    if not WINDOW_SECONDS_MIN <= budget.window_seconds <= WINDOW_SECONDS_MAX:
        message = f"A window lasts {WINDOW_SECONDS_MIN} to {WINDOW_SECONDS_MAX} seconds (a minute to a month)."
        raise InvalidBudget(message, field="windowSeconds")
    if budget.rows_max is budget.bytes_max is budget.habit_factor is None:
        raise InvalidBudget("A budget limits rows, bytes, or what exceeds the habit.", field="rowsMax")
    for name, value in (("rowsMax", budget.rows_max), ("bytesMax", budget.bytes_max)):
        if value is not None and not 1 <= value <= COUNT_MAX:
            raise InvalidBudget("A limit is at least 1; to refuse all reading, withdraw the access.", field=name)
    if budget.habit_factor is not None and not FACTOR_MIN <= budget.habit_factor <= FACTOR_MAX:
        raise InvalidBudget(f"The factor lies from {FACTOR_MIN} to {FACTOR_MAX}.", field="habitFactor")
    delays = budget.action is BudgetAction.DELAY
    if delays != (0 < budget.delay_seconds <= DELAY_SECONDS_MAX) or budget.delay_seconds < 0:
        message = f"DELAY waits 1 to {DELAY_SECONDS_MAX} seconds (a day); the other actions wait for nothing."
        raise InvalidBudget(message, field="delaySeconds")
