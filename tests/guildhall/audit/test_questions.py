"""What auditors ask stays quick: the asked months alone, by an index, and never a sort of all that there is."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.dialects import postgresql

from guildhall.audit import questions
from guildhall.audit.search import ACTS
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from tests.conftest import cloned_database
from tests.guildhall.audit.many_events import DATASETS, PEOPLE, fill

EVENTS_A_MONTH = 12_000
PAGE = 21
"""A page of twenty, and whether there is another."""
BEGINS = datetime(2026, 1, 1, tzinfo=UTC)
SINCE, UNTIL = datetime(2026, 2, 3, tzinfo=UTC), datetime(2026, 2, 20, tzinfo=UTC)
ROWS_TOUCHED_MAX = 2_500
"""Of 36,000: a question that reads or sorts a month of them is found out."""


@pytest.fixture(scope="module")
async def many(server: EmbeddedServer) -> AsyncIterator[Database]:
    """Three months of events in partitions of their own, sealed, analysed."""
    async with cloned_database(server) as database:
        connection = await server.connect(database=str(database.engine.url.database))
        await fill(connection, months=[1, 2, 3], events_a_month=EVENTS_A_MONTH)
        await connection.close()
        yield database


@dataclass(frozen=True)
class Plan:
    """What PostgreSQL did."""

    nodes: Sequence[dict[str, Any]]

    @property
    def partitions(self) -> set[str]:
        """The partitions of events that were really read."""
        return {
            node["Relation Name"] for node in self.nodes
            if node.get("Relation Name", "").startswith("audit_events") and node["Actual Loops"]
        }  # fmt: skip

    @property
    def most_rows(self) -> int:
        """The most rows that any one node read, gave or threw away."""
        return max(_rows(node) for node in self.nodes)

    def rows_of(self, partition: str) -> int:
        """How many rows of that partition were read."""
        return sum(_rows(node) for node in self.nodes if node.get("Relation Name") == partition)


def _rows(node: dict[str, Any]) -> int:
    thrown_away = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + thrown_away) * node["Actual Loops"])


def nodes_of(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", []):
        yield from nodes_of(below)


async def planned(
    database: Database, clauses: Sequence[ColumnElement[bool]], *, after: tuple[datetime, UUID] | None = None
) -> tuple[Plan, list[dict[str, Any]]]:
    """How the page of the question is found, and the page, in the order in which pages go."""
    order = (ACTS.c.occurred_at, ACTS.c.id)
    statement = select(ACTS).where(*clauses).order_by(*(column.desc() for column in order)).limit(PAGE)
    if after is not None:
        statement = statement.where(tuple_(*order) < tuple_(*after))
    dialect = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    values = [compiled.params[name] for name in compiled.positiontup or []]
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        told = await driver.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}", *values)
        rows = [dict(row) for row in (await connection.execute(statement)).mappings()]
    return Plan(list(nodes_of(told[0]["Plan"]))), rows


QUESTIONS = {
    "a data set that many read": lambda: questions.data_reads([DATASETS[0]]),
    "a data set that few read": lambda: questions.data_reads([DATASETS[-1]]),
    "a data set that nobody read": lambda: questions.data_reads([UUID(int=1)]),
    "somebody who does much": lambda: questions.acts_of(PEOPLE[0]),
    "somebody who does little": lambda: questions.acts_of(PEOPLE[-1]),
    "somebody who did nothing": lambda: questions.acts_of(UUID(int=1)),
    "reads without a grant": questions.reads_without_grant,
    "changes of the policy": questions.policy_changes,
    "everything": list,
}


class TestPlans:
    @pytest.mark.parametrize("question", QUESTIONS)
    async def test_the_asked_month_alone_and_no_sort_of_it(self, many: Database, question: str) -> None:
        clauses = [*QUESTIONS[question](), *questions.between(SINCE, UNTIL)]
        plan, rows = await planned(many, clauses)
        assert plan.partitions <= {"audit_events_2026_02"}
        assert plan.most_rows <= ROWS_TOUCHED_MAX
        assert all(SINCE <= row["occurred_at"] < UNTIL for row in rows)
        assert (len(rows) == 0) is question.endswith(("nobody read", "did nothing"))

    @pytest.mark.parametrize("question", QUESTIONS)
    async def test_a_page_far_behind_costs_as_much_as_the_first(self, many: Database, question: str) -> None:
        place = (BEGINS + timedelta(days=40), UUID(int=0))
        plan, rows = await planned(many, QUESTIONS[question](), after=place)
        assert plan.most_rows <= ROWS_TOUCHED_MAX
        assert plan.rows_of("audit_events_2026_03") == 0
        assert [row["occurred_at"] for row in rows] == sorted((row["occurred_at"] for row in rows), reverse=True)
