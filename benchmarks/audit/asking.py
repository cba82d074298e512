"""The auditor's questions as they are really asked, in GraphQL, and what PostgreSQL does to answer a page of each."""

import json
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from benchmarks.audit.seeding import (
    BUSY_DATASET,
    BUSY_PERSON,
    GONE_PERSON,
    GRANTS,
    NOBODY,
    PLAIN_DATASET,
    PLAIN_PERSON,
    QUIET_DATASET,
    RARE_DATASET,
    RARE_PERSON,
    grant_id,
)
from guildhall.auth.actor import system_actor
from guildhall.clock import SystemClock, new_id
from guildhall.db.kept_statements import KeptStatements, Row
from guildhall.db.transaction import Database
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.execution import Executor, Request
from guildhall.graphql.ids import encode_id
from guildhall.graphql.pages import binding_of, given_text
from guildhall.schema.root import composed_schema
from guildhall.settings import Settings

PAGE = 20
SINCE, UNTIL = datetime(2025, 6, 3, tzinfo=UTC), datetime(2026, 8, 20, tzinfo=UTC)
BEHIND = datetime(2025, 9, 5, tzinfo=UTC)
ACT = "occurredAt action outcome justification rows bytes leafNumber actor { __typename } accessGrant { id }"
AUDITOR = system_actor("auditor")


@dataclass(frozen=True)
class Question:
    """A connection of acts; `dated` says that it takes two moments."""

    name: str
    field: str
    arguments: Mapping[str, str]
    dated: bool = True


def _reads(key: UUID) -> dict[str, str]:
    return {"resourceId": encode_id("Dataset", key)}


def _acts(key: UUID) -> dict[str, str]:
    return {"actorId": encode_id("User", key)}


QUESTIONS = (
    Question("who read a data set that most read", "dataReads", _reads(BUSY_DATASET)),
    Question("who read one of 500 data sets", "dataReads", _reads(PLAIN_DATASET)),
    Question("who read a data set of seven acts", "dataReads", _reads(RARE_DATASET)),
    Question("who read a data set of two years ago", "dataReads", _reads(QUIET_DATASET)),
    Question("who read what nobody read", "dataReads", _reads(NOBODY)),
    Question("what did who does half of all", "actsOf", _acts(BUSY_PERSON)),
    Question("what did one of 1,000 people", "actsOf", _acts(PLAIN_PERSON)),
    Question("what did somebody of seven acts", "actsOf", _acts(RARE_PERSON)),
    Question("what did somebody who left", "actsOf", _acts(GONE_PERSON)),
    Question("what did nobody do", "actsOf", _acts(NOBODY)),
    Question("reads with no grant", "readsWithoutGrant", {}),
    Question("changes of the policy", "policyChanges", {}),
    Question("everything", "auditEvents", {}, dated=False),
)

WHOLE: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "what the policy said on a day": (
        'query { policyAt(first: 20, moment: "2026-01-01T00:00:00Z") { nodes { kind line } } }',
        {},
    ),
    "grants that were never used": ("query { unusedAccessGrants(first: 20) { nodes { id } } }", {}),
    "how long access lasted": (
        "query ($id: ID!) { node(id: $id) { ... on AccessGrant { firstUsedAt lastUsedAt } } }",
        {"id": encode_id("AccessGrant", grant_id(GRANTS // 2))},
    ),
}
"""Questions without a page that begins somewhere: how far their cost follows the record is told, not limited."""


def connections() -> Iterator[tuple[Question, list[tuple[bool, bool]]]]:
    """Each question, and its pages: between two dates or not, the first or one far behind."""
    for question in QUESTIONS:
        dates = (False, True) if question.dated else (False,)
        yield question, [(dated, behind) for dated in dates for behind in (False, True)]


@dataclass(frozen=True)
class Asked:
    """One page: the median time through the executor, and how many pages of the database it looked at."""

    milliseconds: float
    buffers: int


class _Watched(KeptStatements):
    """Remembers what was asked last."""

    last: tuple[str, Sequence[Any]] = ("", ())

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Row | None:
        """As ever."""
        self.last = sql, arguments
        return await super().fetch(sql, arguments)


class Asking:
    """One process that answers auditors."""

    def __init__(self, database: Database, statements: _Watched, owner: "asyncpg.Connection[Any]") -> None:
        self._database, self._statements, self._owner = database, statements, owner
        self._settings = Settings()
        self._executor = Executor(composed_schema(), self._settings, statements)
        self._signer = CursorSigner(b"k" * 32)

    async def page(self, question: Question, *, dated: bool, behind: bool, times: int) -> Asked:
        """A page of it, between two dates or of all times, the first or one that begins a year before the end."""
        given: dict[str, Any] = dict(question.arguments)
        if dated and question.dated:
            given |= {"since": SINCE.isoformat(), "until": UNTIL.isoformat()}
        types = {"since": "DateTime", "until": "DateTime"}
        variables = "".join(f", ${name}: {types.get(name, 'ID!')}" for name in given)
        arguments = "".join(f", {name}: ${name}" for name in given)
        document = f"query ($after: String{variables}) {{ {question.field}(first: {PAGE}, after: $after{arguments}) \
{{ nodes {{ {ACT} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        coerced = {name: datetime.fromisoformat(value) if name in types else value for name, value in given.items()}
        binding = binding_of(f"Query.{question.field}", given_text(coerced), AUDITOR)
        after = self._signer.sign(binding, [BEHIND, UUID(int=0)]) if behind else None
        return await self.ask(document, {**given, "after": after}, times=times)

    async def ask(self, document: str, variables: Mapping[str, Any], *, times: int) -> Asked:
        """The median of so many answers, and how the statement of the last one was run."""
        took = []
        for _ in range(times):
            began = time.perf_counter()
            answer = await self._executor.run(Request(document, variables), self._context())
            took.append((time.perf_counter() - began) * 1_000)
            assert not answer.errors, answer.errors
            assert answer.compiled, "this question is not one statement"
        sql, values = self._statements.last
        await self._owner.execute("SET max_parallel_workers_per_gather = 0")
        (told,) = json.loads(await self._owner.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *values))
        plan = told["Plan"]
        return Asked(statistics.median(took), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    def _context(self) -> Context:
        clock = SystemClock()
        return Context(
            database=self._database, actor_or_none=AUDITOR, clock=clock, new_id=new_id, settings=self._settings,
            services=Services(), signer=self._signer, at=clock.now(), request_id="asked",
        )  # fmt: skip


@asynccontextmanager
async def asking(database: Database, owner: "asyncpg.Connection[Any]") -> AsyncIterator[Asking]:
    """For as long as it is asked."""
    statements = _Watched(database.url, connections_max=1, statement_seconds=600)
    try:
        yield Asking(database, statements, owner)
    finally:
        await statements.close()
