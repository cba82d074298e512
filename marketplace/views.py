"""The views of migration 0003, as SQLAlchemy knows them: no tables, so that the metadata leaves them alone."""

from sqlalchemy import BigInteger, Boolean, DateTime, String, Uuid, column, select, table

from marketplace.tables import Allocation, Balance

FIGURES = ("allocated", "received", "captured", "held", "expired", "returned", "sent", "remaining")

allocation_figures = table(
    "allocation_figures",
    column("allocation_id", Uuid),
    column("team_id", Uuid),
    column("programme_id", Uuid),
    column("period_id", Uuid),
    column("valid_from", DateTime(timezone=True)),
    column("valid_to", DateTime(timezone=True)),
    *(column(figure, BigInteger) for figure in FIGURES),
    column("balances", Boolean),
)
"""What became of each allocation's credits, summed up from its transfers alone; `balances`: its balance row agrees."""

postings = table("postings", column("transfer_id", Uuid), column("account_id", Uuid), column("credits", BigInteger))
"""Both sides of every transfer that moved credits."""

wallet_transfers = table(
    "wallet_transfers",
    column("id", Uuid),
    column("transfer_id", Uuid),
    column("allocation_id", Uuid),
    column("team_id", Uuid),
    column("occurred_at", DateTime(timezone=True)),
    column("kind", String),
    column("phase", String),
    column("credits", BigInteger),
    column("reason", String),
    column("hold_id", Uuid),
    column("job_id", Uuid),
    column("direction", String),
    column("available_change", BigInteger),
)
"""A team's side of each transfer that touches its allocations; credits sent have a line in either wallet."""

wallet_allocations = (
    select(
        Allocation.id,
        Allocation.team_id,
        Allocation.programme_id,
        Allocation.period_id,
        Allocation.valid_from,
        Allocation.valid_to,
        Allocation.reason,
        Allocation.created_at,
        *(getattr(Balance, figure) for figure in FIGURES),
    )
    .join(Balance, Balance.account_id == Allocation.id)
    .subquery("wallet_allocations")
)
"""Allocations with what became of their credits, from the balance rows."""
