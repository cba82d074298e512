"""Reads of closed records: each is on the audit record before the answer leaves, and without a record there is none."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select, text

from guildhall.audit.tables import AuditEvent
from guildhall.auth.standing import Standing
from guildhall.db.kept_statements import KeptStatements, KeptTransaction
from guildhall.db.transaction import DatabaseUnavailable, WriteSession
from guildhall.graphql.compiler.compile import CompiledDocument
from guildhall.graphql.execution import Executor, Request
from guildhall.graphql.ids import encode_id
from registry.datasets.tables import Classification
from tests.registry.asking import Asking
from tests.registry.estate import registered, versioned
from tests.registry.house import trained_on

pytestmark = pytest.mark.usefixtures("purposes")

PAGE = """query($first: Int!) { datasets(first: $first) { nodes { name versions(first: 5) { nodes { number } } } } }"""


@pytest.fixture(params=["graphql-core", "a statement"])
async def ask(request: pytest.FixtureRequest, ask: Asking) -> AsyncIterator[Asking]:
    """Answered in both ways."""
    statements = KeptStatements(ask.database.url, connections_max=2, statement_seconds=10)
    if request.param == "a statement":
        ask.executor = Executor(ask.composed, ask.settings, statements)
    yield ask
    await statements.close()


async def discoveries(ask: Asking) -> list[AuditEvent]:
    """The events of reading records, oldest first."""
    statement = select(AuditEvent).where(
        AuditEvent.action.in_(["registry:dataset:discover", "registry:model:discover"])
    )
    async with ask.database.read() as session:
        return list(await session.scalars(statement.order_by(AuditEvent.id)))


class TestReads:
    async def test_one_event_names_all_that_the_answer_holds(self, ask: Asking) -> None:
        async with ask.house() as house:
            closed = await registered(house, "closed")
            version = await versioned(house, closed)
            await registered(house, "open", classification=Classification.INTERNAL)
            secret = await registered(house, "secret", classification=Classification.RESTRICTED)
        await ask("quinn", PAGE, first=10)
        (event,) = await discoveries(ask)
        assert (event.action, event.outcome, event.permission_class) == (
            "registry:dataset:discover",
            "ALLOWED",
            "DATA_READ",
        )
        assert (event.actor_id, event.request_id) == (ask.actor("quinn").id, None)
        named = set(zip(event.resource_types, event.resource_ids, strict=True))
        assert named == {("Dataset", closed), ("Dataset", secret), ("DatasetVersion", version)}

    async def test_one_event_for_each_permission(self, ask: Asking) -> None:
        async with ask.house() as house:
            dataset_id = await registered(house)
            model_id = await house.model()
            made = await house.version(model_id, sources=[trained_on(await versioned(house, dataset_id))])
        document = """query($id: ID!) { node(id: $id) { ... on Dataset { name usedBy(first: 5) { nodes {
            ... on ModelVersion { number } } } } } }"""
        await ask("quinn", document, id=encode_id("Dataset", dataset_id))
        found = [
            (event.action, list(zip(event.resource_types, event.resource_ids, strict=True)))
            for event in await discoveries(ask)
        ]
        assert found == [
            ("registry:dataset:discover", [("Dataset", dataset_id)]),
            ("registry:model:discover", [("ModelVersion", made), ("Model", model_id)]),
        ]

    async def test_open_records_leave_no_trace(self, ask: Asking) -> None:
        async with ask.house() as house:
            await versioned(house, await registered(house, classification=Classification.PUBLIC))
            await registered(house, "open", classification=Classification.INTERNAL)
        await ask("quinn", PAGE, first=10)
        assert await discoveries(ask) == []

    async def test_what_a_list_does_not_show_was_not_read(self, ask: Asking) -> None:
        async with ask.house() as house:
            for number in range(3):
                await registered(house, f"data-{number}")
            await registered(house, "hidden", visibility="TEAM")
        await ask("quinn", PAGE, first=1)
        (event,) = await discoveries(ask)
        assert len(event.resource_ids) == 1
        await ask("quinn", "query { datasets { totalCount } }")
        assert len(await discoveries(ask)) == 1


class TestOneTransaction:
    async def test_what_is_told_was_read_where_it_is_recorded(
        self, ask: Asking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        statements = KeptStatements(ask.database.url, connections_max=2, statement_seconds=10)
        ask.executor = Executor(ask.composed, ask.settings, statements)
        fetch = KeptTransaction.fetch
        read_in: list[str] = []

        async def noting(transaction: KeptTransaction, sql: str, arguments: Sequence[Any]) -> Any:
            found = await fetch(transaction, sql, arguments)
            if "INSERT INTO audit_events" not in sql:
                read_in.extend(await fetch(transaction, "SELECT pg_current_xact_id()::text", []) or ())
            return found

        monkeypatch.setattr(KeptTransaction, "fetch", noting)
        async with ask.house() as house:
            await registered(house)
        nobody = Standing(ask.actor("quinn"), b"\0" * 32)
        try:
            for _ in range(2):
                await ask("quinn", PAGE, first=10)
            monkeypatch.setattr(KeptTransaction, "fetch", fetch)
            asked = Request(PAGE, {"first": 10})
            assert await ask.executor.run_standing(asked, ask.context("quinn"), nobody) is None
        finally:
            await statements.close()
        async with ask.database.read() as session:
            written = text("SELECT xmin::text FROM audit_events WHERE action LIKE '%discover'")
            recorded_in = await session.scalars(written)
            assert sorted(recorded_in) == sorted(read_in)
        assert len(read_in) == 2

    async def test_a_list_that_has_become_open_is_read_without_a_transaction_again(self, ask: Asking) -> None:
        async with ask.house() as house:
            await registered(house, "closed")
            await registered(house, "open", classification=Classification.PUBLIC)
        document = """query($name: String!) { datasets(first: 9, filter: {name: {eq: $name}}) { nodes { name } } }"""
        for name in ("closed", "open", "open", "closed"):
            await ask("quinn", document, name=name)
        assert len(await discoveries(ask)) == 2

    async def test_a_wrong_value_is_for_graphql_core(self, ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
        async with ask.house() as house:
            await registered(house)
        monkeypatch.setattr(CompiledDocument, "answer", divided_by_zero(CompiledDocument.answer))
        for _ in range(2):
            await ask("quinn", PAGE, first=10)
        assert len(await discoveries(ask)) == 2


def divided_by_zero(answer: Any) -> Any:
    """The same answers; inside a transaction PostgreSQL finds fault with a value."""

    async def failing(compiled: Any, context: Any, variables: Any, fetch: Any) -> Any:
        if isinstance(fetch.__self__._statements, KeptTransaction):
            return await fetch("SELECT (1 / $1::int)::text", [0]), None
        return await answer(compiled, context, variables, fetch)

    return failing


class TestWithoutARecord:
    async def test_there_is_no_answer(self, ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
        async with ask.house() as house:
            await registered(house)

        @asynccontextmanager
        async def away() -> AsyncIterator[WriteSession]:
            raise DatabaseUnavailable("The database cannot be reached.")
            yield  # type: ignore[unreachable]

        monkeypatch.setattr(ask.database, "transaction", away)
        monkeypatch.setattr(KeptStatements, "transaction", lambda _: away())
        body: dict[str, Any] = await ask.body("quinn", PAGE, first=10)
        assert "data" not in body
        assert [error["extensions"]["code"] for error in body["errors"]] == ["DATABASE_UNAVAILABLE"]
