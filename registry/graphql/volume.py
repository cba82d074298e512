"""The policy of a data set about reading: budgets, alerts about what crossed them, and what becomes of jobs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from guildhall.graphql.context import Call
from guildhall.graphql.declare import column, connection, extend, many, node, object_type, one, payload
from guildhall.graphql.filters import filters, matches
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID, BigInt
from registry.access.requests import REQUEST
from registry.datasets.changing import set_withdrawal_policy
from registry.datasets.lookup import DISCOVER
from registry.datasets.stewards import STEWARD
from registry.datasets.tables import Dataset, WithdrawalPolicy
from registry.volume.acknowledging import ACKNOWLEDGE, acknowledge_alert
from registry.volume.counting import Budget
from registry.volume.policy import remove_read_budget, set_read_budget, visible_access_alerts
from registry.volume.tables import AccessAlert, BudgetAction, BudgetScope, ReadBudget


@object_type("ReadBudget", table=ReadBudget, key=ReadBudget.scope, permission=DISCOVER)
class ReadBudgetType:
    """How much of a data set may be read within a window before it stands out."""

    scope: BudgetScope = column(ReadBudget.scope, description="Whose reading is counted together.")
    window_seconds: int = column(ReadBudget.window_seconds)
    rows_max: BigInt | None = column(ReadBudget.rows_max)
    bytes_max: BigInt | None = column(ReadBudget.bytes_max)
    habit_factor: int | None = column(
        ReadBudget.habit_factor, description="So many times the median of the reader's own past windows."
    )
    action: BudgetAction = column(ReadBudget.action)
    delay_seconds: int = column(ReadBudget.delay_seconds)


@filters("AccessAlertFilter")
class AccessAlertFilter:
    """Which alerts."""

    action: BudgetAction = matches(AccessAlert.action)
    raised_at: datetime = matches(AccessAlert.raised_at)


@node("AccessAlert", table=AccessAlert, visible=visible_access_alerts, permission=REQUEST)
class AccessAlertType:
    """Somebody read, or was about to read, more of a data set than its budget or their habit has it."""

    dataset = one("Dataset", local=AccessAlert.dataset_id)
    scope: BudgetScope = column(AccessAlert.scope)
    person = one("User", local=AccessAlert.user_id, description="Whose read crossed the budget; null for programs.")
    team = one("Team", local=AccessAlert.team_id, description="On whose behalf it was read.")
    action: BudgetAction = column(AccessAlert.action)
    rows: BigInt = column(AccessAlert.rows, description="In the window, with the read that crossed it.")
    bytes_: BigInt = column(AccessAlert.bytes)
    window_start: datetime = column(AccessAlert.window_start)
    window_seconds: int = column(AccessAlert.window_seconds)
    message: str = column(AccessAlert.message, description="What was unusual.")
    raised_at: datetime = column(AccessAlert.raised_at)
    delayed_until: datetime | None = column(AccessAlert.delayed_until)
    acknowledged_at: datetime | None = column(AccessAlert.acknowledged_at, description="Null: it is open.")
    acknowledged_by = one("User", local=AccessAlert.acknowledged_by)
    acknowledgement: str | None = column(AccessAlert.acknowledgement, description="What was found.")


@extend("Dataset")
class DatasetBudgets:
    """What the stewards have set; where they have not, closed data has a default for persons."""

    withdrawal_policy: WithdrawalPolicy = column(
        Dataset.withdrawal_policy, description="What becomes of running jobs whose access ends."
    )
    read_budgets = many(
        "ReadBudget",
        local=Dataset.id,
        remote=ReadBudget.dataset_id,
        order_by=[ReadBudget.scope],
        maximum=len(BudgetScope),
    )


@extend("Query", permission=REQUEST)
class AlertQueries:
    """For stewards and auditors."""

    access_alerts = connection(
        "AccessAlert",
        filter=AccessAlertFilter,
        default_order=[AccessAlert.raised_at.desc()],
        description="Unusual reading of data that the caller answers for or audits, newest first.",
    )


@input_type
class SetReadBudgetInput(MutationInput):
    """A limit that is left out does not count; at least one of them does."""

    dataset_id: ID
    scope: BudgetScope
    window_seconds: int
    action: BudgetAction
    rows_max: BigInt | None = None
    bytes_max: BigInt | None = None
    habit_factor: int | None = None
    delay_seconds: int = 0


@input_type
class RemoveReadBudgetInput(MutationInput):
    """Which budget goes."""

    dataset_id: ID
    scope: BudgetScope


@input_type
class SetWithdrawalPolicyInput(MutationInput):
    """STOP gives a running job time for a last checkpoint; FLAG only says so on the job."""

    dataset_id: ID
    policy: WithdrawalPolicy


@input_type
class AcknowledgeAccessAlertInput(MutationInput):
    """What was found about the reading."""

    access_alert_id: ID
    note: str


@payload
class AcknowledgeAccessAlertPayload:
    """The alert."""

    access_alert = one("AccessAlert", local="alert")


@payload
class SetWithdrawalPolicyPayload:
    """The data set."""

    dataset = one("Dataset", local="dataset")


@payload
class SetReadBudgetPayload:
    """The data set, with its budgets."""

    dataset = one("Dataset", local="dataset")


@payload
class RemoveReadBudgetPayload:
    """The data set, with the budgets that are left."""

    dataset = one("Dataset", local="dataset")


@extend("Mutation")
class BudgetMutations:
    """Setting budgets."""

    @mutation(permission=STEWARD, payload=SetReadBudgetPayload)
    async def set_read_budget(call: Call, given: SetReadBudgetInput) -> Mapping[str, Any]:
        """Say how much of a data set may be read before it stands out, and what happens then; for its stewards."""
        dataset_id = decode_id(given.dataset_id, "Dataset", field="datasetId")
        budget = Budget(
            scope=given.scope,
            window_seconds=given.window_seconds,
            rows_max=given.rows_max,
            bytes_max=given.bytes_max,
            habit_factor=given.habit_factor,
            action=given.action,
            delay_seconds=given.delay_seconds,
        )
        await set_read_budget(
            call.session, call.actor, dataset_id=dataset_id, budget=budget, at=call.at, new_id=call.new_id
        )
        return {"dataset": dataset_id}

    @mutation(permission=STEWARD, payload=RemoveReadBudgetPayload)
    async def remove_read_budget(call: Call, given: RemoveReadBudgetInput) -> Mapping[str, Any]:
        """Go back to the default; for stewards of the data set."""
        dataset_id = decode_id(given.dataset_id, "Dataset", field="datasetId")
        await remove_read_budget(
            call.session, call.actor, dataset_id=dataset_id, scope=given.scope, at=call.at, new_id=call.new_id
        )
        return {"dataset": dataset_id}

    @mutation(permission=STEWARD, payload=SetWithdrawalPolicyPayload)
    async def set_withdrawal_policy(call: Call, given: SetWithdrawalPolicyInput) -> Mapping[str, Any]:
        """Say what becomes of running jobs when access to a data set ends; for its stewards."""
        dataset_id = decode_id(given.dataset_id, "Dataset", field="datasetId")
        await set_withdrawal_policy(
            call.session, call.actor, dataset_id=dataset_id, policy=given.policy, at=call.at, new_id=call.new_id
        )
        return {"dataset": dataset_id}

    @mutation(permission=ACKNOWLEDGE, payload=AcknowledgeAccessAlertPayload)
    async def acknowledge_access_alert(call: Call, given: AcknowledgeAccessAlertInput) -> Mapping[str, Any]:
        """Close an alert with a note; for its stewards and auditors, never for the reader."""
        alert_id = decode_id(given.access_alert_id, "AccessAlert", field="accessAlertId")
        await acknowledge_alert(
            call.session, call.actor, alert_id=alert_id, note=given.note, at=call.at, new_id=call.new_id
        )
        return {"alert": alert_id}


TYPES = [
    AcknowledgeAccessAlertPayload,
    ReadBudgetType,
    AccessAlertType,
    DatasetBudgets,
    AlertQueries,
    SetReadBudgetPayload,
    RemoveReadBudgetPayload,
    SetWithdrawalPolicyPayload,
    BudgetMutations,
]
