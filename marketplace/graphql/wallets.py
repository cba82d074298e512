"""Wallets: a team's allocations, and every transfer that touched them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, func, select, true

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import team_rows
from guildhall.auth.tables import Team
from guildhall.graphql.context import Context
from guildhall.graphql.declare import column, connection, embedded, extend, node, object_type, one
from guildhall.graphql.filters import filters, matches
from guildhall.graphql.scalars import Credits
from guildhall.graphql.sources import Orders
from marketplace.tables import Allocation, Balance, Programme, TransferKind, TransferPhase
from marketplace.views import wallet_allocations, wallet_transfers
from marketplace.wallets import READ_PERMISSION

GIVEN = wallet_allocations.c
LINES = wallet_transfers.c


class TransferDirection(StrEnum):
    """OUT leaves what is available or is set aside of it; IN comes, or comes back."""

    IN = "IN"
    OUT = "OUT"


def visible_wallet_allocations(actor: Actor) -> ColumnElement[bool]:
    """The rule of `marketplace.wallets.visible_allocations`, over the rows with figures."""
    return team_rows(actor, team_column=GIVEN.team_id, permission=READ_PERMISSION)


def visible_wallet_transfers(actor: Actor) -> ColumnElement[bool]:
    """The transfers of wallets that the caller may see."""
    return team_rows(actor, team_column=LINES.team_id, permission=READ_PERMISSION)


def _sum_of(figure: str, *narrowed: ColumnElement[bool]) -> ColumnElement[int]:
    """A figure summed over the team's allocations."""
    return (
        select(func.coalesce(func.sum(getattr(Balance, figure)), 0))
        .join(Allocation, Allocation.id == Balance.account_id)
        .where(Allocation.team_id == Team.id, *narrowed)
        .correlate(Team.__table__)
        .scalar_subquery()
    )


def _available(context: Context) -> ColumnElement[int]:
    """What remains in the allocations that are valid at the request's moment."""
    return _sum_of("remaining", Allocation.valid_from <= context.at, Allocation.valid_to > context.at)


@filters("AllocationFilter")
class AllocationFilter:
    """By programme and times."""

    programme: str = matches(
        Programme.name, via=lambda clause: GIVEN.programme_id.in_(select(Programme.id).where(clause))
    )
    valid_from: datetime = matches(GIVEN.valid_from)
    valid_to: datetime = matches(GIVEN.valid_to)


@filters("TransferFilter")
class TransferFilter:
    """By kind and time."""

    kind: TransferKind = matches(LINES.kind)
    occurred_at: datetime = matches(LINES.occurred_at)


ALLOCATION_ORDERS = Orders("Allocation", {"VALID_TO": GIVEN.valid_to, "REMAINING": GIVEN.remaining})


@node(
    "Allocation",
    table=wallet_allocations,
    visible=visible_wallet_allocations,
    permission=READ_PERMISSION,
    team=GIVEN.team_id,
)
class AllocationType:
    """Credits given to a team for a programme and a time, and what became of them.

    `allocated + received = captured + held + expired + returned + sent + remaining`, at every moment.
    """

    team = one("Team", local=GIVEN.team_id, nullable=False)
    programme = one("Programme", local=GIVEN.programme_id, nullable=False)
    period = one("Period", local=GIVEN.period_id)
    valid_from: datetime = column(GIVEN.valid_from)
    valid_to: datetime = column(GIVEN.valid_to)
    reason: str = column(GIVEN.reason)
    created_at: datetime = column(GIVEN.created_at)
    allocated: Credits = column(GIVEN.allocated, description="Given by the treasury.")
    received: Credits = column(GIVEN.received, description="Sent by other teams.")
    captured: Credits = column(GIVEN.captured, description="Charged for jobs, less what was refunded.")
    held: Credits = column(GIVEN.held, description="Set aside for jobs that are not settled.")
    expired: Credits = column(GIVEN.expired, description="Left over when the allocation ended.")
    returned: Credits = column(GIVEN.returned, description="Handed back to the treasury.")
    sent: Credits = column(GIVEN.sent, description="Sent to other teams.")
    remaining: Credits = column(GIVEN.remaining, description="Still there.")


@node(
    "Transfer",
    table=wallet_transfers,
    visible=visible_wallet_transfers,
    permission=READ_PERMISSION,
    team=LINES.team_id,
)
class TransferType:
    """One movement of credits, seen from one team; never changed: a correction is another transfer, with a reason."""

    occurred_at: datetime = column(LINES.occurred_at)
    kind: TransferKind = column(LINES.kind)
    phase: TransferPhase = column(LINES.phase)
    direction: TransferDirection = column(LINES.direction)
    credits: Credits = column(LINES.credits)
    available_change: Credits = column(
        LINES.available_change,
        description="What it did to the credits available: a capture gives back what its hold had set aside beyond it.",
    )
    reason: str = column(LINES.reason)
    allocation = one("Allocation", local=LINES.allocation_id, nullable=False)


@object_type("Wallet", table=Team)
class WalletType:
    """A team's allocations taken together."""

    available: Credits = column(_available, description="What holds placed now could draw on, in all programmes.")
    held: Credits = column(_sum_of("held"), description="Set aside for jobs that are not settled.")
    allocations = connection(
        "Allocation",
        local=Team.id,
        remote=GIVEN.team_id,
        filter=AllocationFilter,
        orders=ALLOCATION_ORDERS,
        default_order=[GIVEN.valid_to],
    )
    transfers = connection(
        "Transfer",
        local=Team.id,
        remote=LINES.team_id,
        filter=TransferFilter,
        default_order=[LINES.occurred_at.desc()],
        total_count=False,
    )


@extend("Team")
class TeamWallet:
    """What the marketplace adds to a team."""

    wallet = embedded("Wallet", when=true(), permission=READ_PERMISSION)  # null to those who may not see it


TYPES = [AllocationType, TransferType, WalletType, TeamWallet]
