"""The finance view: every allocation's identity, recomputed from its transfers, and the zero sum of the whole."""

from datetime import datetime

from sqlalchemy import ColumnElement, and_, false, func, literal, select, true

from guildhall.auth.actor import Actor
from guildhall.graphql.declare import column, connection, extend, find, object_type, one
from guildhall.graphql.scalars import BigInt, Credits
from guildhall.graphql.sources import Clauses
from marketplace.views import allocation_figures, postings

REPORT = "marketplace:report:read"
FIGURES = allocation_figures.c

_posted = select(
    func.coalesce(func.sum(postings.c.credits), 0).label("postings_sum"),
    func.count(postings.c.transfer_id.distinct()).label("transfers"),
).subquery("posted")
_figures = (
    select(
        func.count().label("allocations"),
        func.count().filter(allocation_figures.c.balances.is_not(True)).label("allocations_wrong"),
    )
    .select_from(allocation_figures)
    .subquery("figures")
)
_check = select(literal(1).label("id"), *_posted.c, *_figures.c).join(_figures, true()).subquery("ledger_check")
CHECK = _check.c


def visible_report(actor: Actor) -> ColumnElement[bool]:
    """Those who may read the report see all of it; it is about the organisation, not about teams."""
    return true() if actor.teams_where(REPORT) is None else false()


@object_type(
    "AllocationReport", table=allocation_figures, key=FIGURES.allocation_id, visible=visible_report, permission=REPORT
)
class AllocationReportType:
    """One allocation's figures, summed up from its transfers alone.

    `balances` says that `allocated + received = captured + held + expired + returned + sent + remaining`, and that the
    balance which holds are checked against says the same in every figure.
    """

    allocation = one("Allocation", local=FIGURES.allocation_id)
    team = one("Team", local=FIGURES.team_id)
    programme = one("Programme", local=FIGURES.programme_id)
    valid_from: datetime = column(FIGURES.valid_from)
    valid_to: datetime = column(FIGURES.valid_to)
    allocated: Credits = column(FIGURES.allocated)
    received: Credits = column(FIGURES.received)
    captured: Credits = column(FIGURES.captured)
    held: Credits = column(FIGURES.held)
    expired: Credits = column(FIGURES.expired)
    returned: Credits = column(FIGURES.returned)
    sent: Credits = column(FIGURES.sent)
    remaining: Credits = column(FIGURES.remaining)
    balances: bool = column(func.coalesce(FIGURES.balances, false()))


@object_type("LedgerCheck", table=_check, key=CHECK.id, visible=visible_report, permission=REPORT)
class LedgerCheckType:
    """Whether the whole ledger balances: all postings sum up to zero, and no allocation is wrong."""

    balances: bool = column(and_(CHECK.postings_sum == 0, CHECK.allocations_wrong == 0))
    postings_sum: Credits = column(CHECK.postings_sum)
    transfers: BigInt = column(CHECK.transfers)
    allocations: int = column(CHECK.allocations)
    allocations_wrong: int = column(CHECK.allocations_wrong)


@extend("Query", permission=REPORT)
class FinanceQueries:
    """The books."""

    finance_report = connection("AllocationReport", default_order=[FIGURES.valid_to.desc()])

    @find("LedgerCheck", permission=REPORT)
    def ledger_check() -> Clauses:
        """The ledger summed up in one statement; null for those who may not see it."""
        return []


TYPES = [AllocationReportType, LedgerCheckType, FinanceQueries]
