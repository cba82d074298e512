"""What auditors ask stays quick: the asked months alone, by an index, and never a sort of all that there is."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, Select, Subquery, select
from sqlalchemy.dialects import postgresql

from guildhall.audit import questions
from guildhall.audit.search import ACTS
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from guildhall.graphql.statements import Order, after_clause
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


def _rows(node: dict[str, Any]) -> int:
    thrown_away = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + thrown_away) * node["Actual Loops"])


def nodes_of(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", []):
        yield from nodes_of(below)


@dataclass(frozen=True)
class Question:
    """Conditions on acts, and what they are about where that is joined."""

    clauses: Sequence[ColumnElement[bool]]
    about: Subquery | None = None


@dataclass(frozen=True)
class Asked:
    """A question of some time, as GraphQL and the report ask it: its statement, in the order in which pages go."""

    question: Question
    since: datetime | None = None
    until: datetime | None = None
    after: tuple[datetime, UUID] | None = None

    def statement(self) -> Select[Any]:
        """The page."""
        about = self.question.about
        moment = ACTS.c.occurred_at if about is None else about.c.act_at
        statement = (
            select(ACTS)
            .select_from(ACTS if about is None else ACTS.join(about, about.c.id == ACTS.c.id))
            .where(*self.question.clauses, *questions.between(self.since, self.until))
            .order_by(moment.desc(), ACTS.c.id.desc())
            .limit(PAGE)
        )
        if self.after is None:
            return statement
        orders = [Order(moment, descending=True, partitioned=True), Order(ACTS.c.id, descending=True)]
        return statement.where(after_clause(orders, self.after))


async def planned(database: Database, asked: Asked, *settings: str) -> tuple[Plan, list[dict[str, Any]]]:
    """How the page of the question is found, and the page."""
    statement = asked.statement()
    dialect = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    values = [compiled.params[name] for name in compiled.positiontup or []]
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        async with driver.transaction():
            for setting in ("max_parallel_workers_per_gather = 0", *settings):
                await driver.execute(f"SET LOCAL {setting}")
            told = await driver.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}", *values)
        rows = [dict(row) for row in (await connection.execute(statement)).mappings()]
    return Plan(list(nodes_of(told[0]["Plan"]))), rows


def reads_of(key: UUID, since: datetime | None, until: datetime | None) -> Question:
    about = questions.acts_about(key, since, until)
    return Question(questions.data_reads(about), about)


QUESTIONS: dict[str, Callable[[datetime | None, datetime | None], Question]] = {
    "a data set that many read": partial(reads_of, DATASETS[0]),
    "a data set that few read": partial(reads_of, DATASETS[-1]),
    "a data set that nobody read": partial(reads_of, UUID(int=1)),
    "somebody who does much": lambda *_: Question(questions.acts_of("User", PEOPLE[0])),
    "somebody who does little": lambda *_: Question(questions.acts_of("User", PEOPLE[-1])),
    "somebody who did nothing": lambda *_: Question(questions.acts_of("User", UUID(int=1))),
    "reads without a grant": lambda *_: Question(questions.reads_without_grant()),
    "changes of the policy": lambda *_: Question(questions.policy_changes()),
    "everything": lambda *_: Question([]),
}
PLACE = (BEGINS + timedelta(days=40), UUID(int=0))


def asked(question: str, since: datetime | None, until: datetime | None, after: Any = None) -> Asked:
    return Asked(QUESTIONS[question](since, until), since, until, after)


class TestPlans:
    @pytest.mark.parametrize("question", QUESTIONS)
    async def test_the_asked_month_alone_and_no_sort_of_it(self, many: Database, question: str) -> None:
        plan, rows = await planned(many, asked(question, SINCE, UNTIL))
        assert plan.partitions <= {"audit_events_2026_02"}
        assert plan.most_rows <= ROWS_TOUCHED_MAX
        assert all(SINCE <= row["occurred_at"] < UNTIL for row in rows)
        assert (len(rows) == 0) is question.endswith(("nobody read", "did nothing"))

    @pytest.mark.parametrize("question", QUESTIONS)
    async def test_a_page_far_behind_costs_as_much_as_the_first(self, many: Database, question: str) -> None:
        plan, rows = await planned(many, asked(question, None, None, PLACE))
        assert plan.most_rows <= ROWS_TOUCHED_MAX
        assert "audit_events_2026_03" not in plan.partitions
        assert [row["occurred_at"] for row in rows] == sorted((row["occurred_at"] for row in rows), reverse=True)

    @pytest.mark.parametrize("question", QUESTIONS)
    @pytest.mark.parametrize("after", [None, PLACE], ids=["the first page", "a page far behind"])
    async def test_an_index_has_the_rows_in_order(self, many: Database, question: str, after: Any) -> None:
        """Whatever the planner thinks cheapest for so few rows: there is a way that neither sorts nor reads all."""
        ways = ("enable_sort = off", "enable_incremental_sort = off", "enable_seqscan = off", "enable_bitmapscan = off")
        plan, _ = await planned(many, asked(question, None, None, after), *ways)
        kinds = {node["Node Type"] for node in plan.nodes}
        assert not kinds & {"Sort", "Incremental Sort", "Seq Scan", "Bitmap Heap Scan", "Hash"}
        assert plan.most_rows <= ROWS_TOUCHED_MAX
