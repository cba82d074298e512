"""Loosening of inherited restrictions: asked for, decided by stewards, withdrawn."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from strawberry import UNSET

from guildhall.graphql.context import Call
from guildhall.graphql.declare import column, connection, extend, many, node, object_type, one, payload
from guildhall.graphql.filters import filters, matches
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type, one_of_input
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from registry.access.deciding import DecisionKind
from registry.access.requests import REQUEST
from registry.datasets.tables import Classification, Dataset
from registry.loosening.asking import LOOSEN, SOURCES_MAX, InvalidLoosening, ask_loosening
from registry.loosening.deciding import decide_loosening
from registry.loosening.imposing import Wanted, covered
from registry.loosening.tables import (
    Loosening,
    LooseningApproval,
    LooseningSource,
    LooseningState,
    RestrictedProperty,
)
from registry.loosening.visibility import DECIDE, loosenings_to_decide, visible_loosenings, visible_sources
from registry.loosening.withdrawing import withdraw_loosening
from registry.models.tables import ModelVersion

APPROVALS_MAX = 100


@filters("LooseningFilter")
class LooseningFilter:
    """Which loosenings."""

    state: LooseningState = matches(Loosening.state)
    property_: RestrictedProperty = matches(Loosening.property)
    created_at: datetime = matches(Loosening.created_at)


@object_type("LooseningSource", table=LooseningSource, key=LooseningSource.dataset_version_id, permission=REQUEST)
class LooseningSourceType:
    """A version of a data set that restricts, with the legal record as the stewards see it in the request."""

    dataset_version = one("DatasetVersion", local=LooseningSource.dataset_version_id)
    classification: Classification = column(LooseningSource.classification)
    permitted_purposes: list[str] = column(LooseningSource.permitted_purposes)
    regions: list[str] = column(LooseningSource.regions)
    retention_ends_on: date | None = column(LooseningSource.retention_ends_on)
    covered: bool = column(
        select(covered()).where(Dataset.id == LooseningSource.dataset_id).correlate(LooseningSource.__table__)
        .scalar_subquery(),
        description="False: the data set has become stricter than this since, and restricts in full again.",
    )  # fmt: skip


@object_type("LooseningApproval", table=LooseningApproval, key=LooseningApproval.user_id, permission=REQUEST)
class LooseningApprovalType:
    """One steward's approval, for the data that they answered for."""

    person = one("User", local=LooseningApproval.user_id, nullable=False)
    reason: str | None = column(LooseningApproval.reason)
    approved_at: datetime = column(LooseningApproval.approved_at)


@node("Loosening", table=Loosening, visible=visible_loosenings, permission=REQUEST)
class LooseningType:
    """A model version is to inherit less from its sources, in one property; in force while it is APPROVED."""

    model_version = one("ModelVersion", local=Loosening.model_version_id)
    property_: RestrictedProperty = column(Loosening.property)
    classification: Classification | None = column(Loosening.classification)
    permitted_purposes: list[str] | None = column(Loosening.permitted_purposes, description="To be permitted as well.")
    regions: list[str] | None = column(Loosening.regions, description="To be allowed as well.")
    retention_ends_on: date | None = column(
        Loosening.retention_ends_on, description="Null in a loosening of the retention: kept without an end."
    )
    justification: str = column(Loosening.justification)
    requester = one("User", local=Loosening.requester_id, nullable=False)
    state: LooseningState = column(Loosening.state)
    created_at: datetime = column(Loosening.created_at)
    sources = many(
        "LooseningSource",
        local=Loosening.id,
        remote=LooseningSource.loosening_id,
        order_by=[LooseningSource.dataset_id, LooseningSource.dataset_version_id],
        maximum=SOURCES_MAX,
        where=lambda context: [visible_sources(context.actor)],
        description="Those whose data sets are there for the caller.",
    )
    approvals = many(
        "LooseningApproval",
        local=Loosening.id,
        remote=LooseningApproval.loosening_id,
        order_by=[LooseningApproval.approved_at, LooseningApproval.user_id],
        maximum=APPROVALS_MAX,
    )
    decided_at: datetime | None = column(Loosening.decided_at)
    decided_by = one("User", local=Loosening.decided_by)
    decision_reason: str | None = column(Loosening.decision_reason)
    withdrawn_at: datetime | None = column(Loosening.withdrawn_at)
    withdrawn_by = one("User", local=Loosening.withdrawn_by)
    withdrawal_reason: str | None = column(Loosening.withdrawal_reason)


@extend("ModelVersion")
class ModelVersionLoosenings:
    """What was asked for and decided about the restrictions of this version."""

    loosenings = connection(
        "Loosening",
        local=ModelVersion.id,
        remote=Loosening.model_version_id,
        filter=LooseningFilter,
        default_order=[Loosening.created_at.desc()],
    )


@extend("Viewer")
class LooseningQueue:
    """What waits for the caller."""

    loosenings_to_decide = connection(
        "Loosening",
        where=lambda context: [loosenings_to_decide(context.actor)],
        default_order=[Loosening.created_at],
        permission=REQUEST,
        description="Loosenings that wait for the caller as a steward of a source, oldest first.",
    )


@extend("Query", permission=REQUEST)
class LooseningQueries:
    """Loosenings that exist for the caller."""

    loosenings = connection("Loosening", filter=LooseningFilter, default_order=[Loosening.created_at.desc()])


@one_of_input
class LoosenToInput:
    """What is to be. Purposes and regions are those to be allowed as well."""

    classification: Classification | None = UNSET
    permitted_purposes: list[str] | None = UNSET
    regions: list[str] | None = UNSET
    retention_ends_on: date | None = UNSET
    kept_without_end: bool | None = UNSET

    def as_wanted(self) -> Wanted:
        """As the domain names it. Raises InvalidLoosening."""
        if self.classification is not UNSET:
            return Wanted(property=RestrictedProperty.CLASSIFICATION, classification=self.classification)
        if self.permitted_purposes is not UNSET:
            purposes = tuple(self.permitted_purposes or ())
            return Wanted(property=RestrictedProperty.PERMITTED_PURPOSES, permitted_purposes=purposes)
        if self.regions is not UNSET:
            return Wanted(property=RestrictedProperty.REGIONS, regions=tuple(self.regions or ()))
        if self.retention_ends_on is not UNSET:
            return Wanted(property=RestrictedProperty.RETENTION, retention_ends_on=self.retention_ends_on)
        if not self.kept_without_end:
            raise InvalidLoosening("keptWithoutEnd is true, or left out.", field="to.keptWithoutEnd")
        return Wanted(property=RestrictedProperty.RETENTION)


@input_type
class AskLooseningInput(MutationInput):
    """Of which version, what is to be, and why that is right."""

    model_version_id: ID
    to: LoosenToInput
    justification: str


@payload
class AskLooseningPayload:
    """The loosening, which waits for the stewards."""

    loosening = one("Loosening", local="loosening")


@input_type
class DecideLooseningInput(MutationInput):
    """A refusal needs its reason."""

    loosening_id: ID
    decision: DecisionKind
    reason: str | None = None


@payload
class DecideLooseningPayload:
    """The loosening as it is now."""

    loosening = one("Loosening", local="loosening")


@input_type
class WithdrawLooseningInput(MutationInput):
    """Which loosening ends now, and why."""

    loosening_id: ID
    reason: str


@payload
class WithdrawLooseningPayload:
    """The loosening, ended."""

    loosening = one("Loosening", local="loosening")


@extend("Mutation")
class LooseningMutations:
    """Asking, deciding and withdrawing."""

    @mutation(permission=LOOSEN, payload=AskLooseningPayload)
    async def ask_loosening(call: Call, given: AskLooseningInput) -> Mapping[str, Any]:
        """Ask the stewards of what restricts a model version to loosen it."""
        loosening_id = await ask_loosening(
            call.session,
            call.actor,
            model_version_id=decode_id(given.model_version_id, "ModelVersion", field="modelVersionId"),
            wanted=given.to.as_wanted(),
            justification=given.justification,
            at=call.at,
            new_id=call.new_id,
        )
        return {"loosening": loosening_id}

    @mutation(permission=DECIDE, payload=DecideLooseningPayload)
    async def decide_loosening(call: Call, given: DecideLooseningInput) -> Mapping[str, Any]:
        """Approve or refuse; for stewards of a source that stands in the way, never for who asked."""
        loosening_id = await decide_loosening(
            call.session,
            call.actor,
            loosening_id=decode_id(given.loosening_id, "Loosening", field="looseningId"),
            decision=given.decision,
            reason=given.reason,
            at=call.at,
            new_id=call.new_id,
        )
        return {"loosening": loosening_id}

    @mutation(permission=LOOSEN, payload=WithdrawLooseningPayload)
    async def withdraw_loosening(call: Call, given: WithdrawLooseningInput) -> Mapping[str, Any]:
        """End a loosening at once; for stewards of a source, who asked, and the model's team."""
        loosening_id = await withdraw_loosening(
            call.session,
            call.actor,
            loosening_id=decode_id(given.loosening_id, "Loosening", field="looseningId"),
            reason=given.reason,
            at=call.at,
            new_id=call.new_id,
        )
        return {"loosening": loosening_id}


TYPES = [
    LooseningSourceType,
    LooseningApprovalType,
    LooseningType,
    ModelVersionLoosenings,
    LooseningQueue,
    LooseningQueries,
    AskLooseningPayload,
    DecideLooseningPayload,
    WithdrawLooseningPayload,
    LooseningMutations,
]
