"""Mutations that move credits; jobs are paid through holds, in the scheduler."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from guildhall.graphql.context import Call
from guildhall.graphql.declare import extend, many, one, payload
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID, Credits
from marketplace import wallets
from marketplace.views import wallet_transfers

SEND = "marketplace:credits:send"
REFUNDS_MAX = 50


@input_type
class AllocateCreditsInput(MutationInput):
    """Team, programme and period by name; the times are half open."""

    team: str
    programme: str
    credits: Credits
    valid_from: datetime
    valid_to: datetime
    reason: str
    period: str | None = None


@payload
class AllocateCreditsPayload:
    """The new allocation."""

    allocation = one("Allocation", local="allocation")


@input_type
class ReturnCreditsInput(MutationInput):
    """How much of an allocation goes back, and why."""

    allocation_id: ID
    credits: Credits
    reason: str


@payload
class ReturnCreditsPayload:
    """The allocation, with less in it."""

    allocation = one("Allocation", local="allocation")


@input_type
class SendCreditsInput(MutationInput):
    """How much of an allocation goes to another team, and why."""

    allocation_id: ID
    to_team: str
    credits: Credits
    reason: str


@payload
class SendCreditsPayload:
    """`received` is the other team's allocation, for those who may see it."""

    allocation = one("Allocation", local="allocation")
    received = one("Allocation", local="received")


@input_type
class RefundChargeInput(MutationInput):
    """How much of a job's charge is given back, and why."""

    job_id: ID
    credits: Credits
    reason: str


@payload
class RefundChargePayload:
    """All refunds of the job's charge, the newest first."""

    refunds = many(
        "Transfer",
        local="hold",
        remote=wallet_transfers.c.hold_id,
        order_by=[wallet_transfers.c.occurred_at.desc(), wallet_transfers.c.id],
        where=[wallet_transfers.c.kind == "REFUND"],
        maximum=REFUNDS_MAX,
    )


@extend("Mutation")
class LedgerMutations:
    """What people do with credits."""

    @mutation(permission="marketplace:credits:allocate", payload=AllocateCreditsPayload)
    async def allocate_credits(call: Call, given: AllocateCreditsInput) -> Mapping[str, Any]:
        """Give a team credits for a programme and a time."""
        allocation_id = await wallets.allocate_credits(
            call.session,
            call.actor,
            team=given.team,
            programme=given.programme,
            period=given.period,
            credits=given.credits,
            valid_from=given.valid_from,
            valid_to=given.valid_to,
            reason=given.reason,
            at=call.at,
            new_id=call.new_id,
        )
        return {"allocation": allocation_id}

    @mutation(permission=SEND, payload=ReturnCreditsPayload)
    async def return_credits(call: Call, given: ReturnCreditsInput) -> Mapping[str, Any]:
        """Hand what a team does not need back to the treasury."""
        allocation_id = await wallets.return_team_credits(
            call.session,
            call.actor,
            allocation_id=decode_id(given.allocation_id, "Allocation", field="allocationId"),
            credits=given.credits,
            reason=given.reason,
            at=call.at,
            new_id=call.new_id,
        )
        return {"allocation": allocation_id}

    @mutation(permission=SEND, payload=SendCreditsPayload)
    async def send_credits(call: Call, given: SendCreditsInput) -> Mapping[str, Any]:
        """Give credits to another team; they keep their programme and their times."""
        allocation_id, received_id = await wallets.send_team_credits(
            call.session,
            call.actor,
            allocation_id=decode_id(given.allocation_id, "Allocation", field="allocationId"),
            to_team=given.to_team,
            credits=given.credits,
            reason=given.reason,
            at=call.at,
            new_id=call.new_id,
        )
        return {"allocation": allocation_id, "received": received_id}

    @mutation(permission="marketplace:credits:refund", payload=RefundChargePayload)
    async def refund_charge(call: Call, given: RefundChargeInput) -> Mapping[str, Any]:
        """Give back part of what a job was charged, with a reason; the charge itself stays on record."""
        hold_id = await wallets.refund_charge(
            call.session,
            call.actor,
            job_id=decode_id(given.job_id, "Job", field="jobId"),
            credits=given.credits,
            reason=given.reason,
            at=call.at,
            new_id=call.new_id,
        )
        return {"hold": hold_id}


TYPES = [
    AllocateCreditsPayload,
    ReturnCreditsPayload,
    SendCreditsPayload,
    RefundChargePayload,
    LedgerMutations,
]
