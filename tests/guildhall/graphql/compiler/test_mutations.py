"""What a mutation changed is told by a statement after its commit, and nothing is ever done twice."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from graphql import parse
from sqlalchemy import select

from guildhall.auth.actor import Actor
from guildhall.db.kept_statements import KeptStatements
from guildhall.db.transaction import Database
from guildhall.graphql.compiler.compile import CompiledMutation, compile_document
from guildhall.graphql.compiler.plan import NotCompilable
from guildhall.graphql.compiler.runs import FallBack
from guildhall.graphql.compose import Composed
from guildhall.graphql.context import Context
from guildhall.graphql.execution import Answer, Executor, Request
from guildhall.graphql.ids import encode_id
from guildhall.settings import Settings
from tests.guildhall.graphql.compiler.conftest import Both, in_order
from tests.guildhall.graphql.conftest import HOUSES
from tests.guildhall.graphql.example import RUNS, House

RENAME = """mutation ($input: RenameHouseInput!, $with: Boolean = true) { done: renameHouse(input: $input) {
    previous @include(if: $with) house { id name price rooms(first: 1) { nodes { name } pageInfo { endCursor } } }
    errors { code field message } } }"""
Ask = Callable[..., Any]


@pytest.fixture
async def ask(house_database: Database, composed: Composed, settings: Settings, new_context: Any) -> Any:
    """Run a document as a server does; both with statements and without."""
    statements = KeptStatements(house_database.url, connections_max=2, statement_seconds=10)
    ways = {True: Executor(composed, settings, statements), False: Executor(composed, settings)}
    RUNS.clear()

    async def run(actor: Actor, text: str, *, compiled: bool = True, **variables: Any) -> Answer:
        return await ways[compiled].run(Request(text, variables), new_context(actor))

    yield run
    await statements.close()


def body(answer: Answer) -> Any:
    if isinstance(answer.data, dict) or answer.data is None:
        return json.loads(json.dumps(answer.body()))
    return {"data": json.loads(bytes(answer.data))}  # type: ignore[arg-type]


def given(name: str, **more: Any) -> dict[str, Any]:
    return {"houseId": encode_id("House", HOUSES[3]), "name": name, **more}


class TestMutations:
    @pytest.mark.parametrize("name", ["house-new", "", "taken"])
    async def test_both_ways_tell_the_same(self, ask: Ask, anna: Actor, name: str) -> None:
        first = await ask(anna, RENAME, input=given("house-3"))
        ours = await ask(anna, RENAME, input=given(name))
        assert (first.compiled, ours.compiled) == (True, True)
        await ask(anna, RENAME, input=given("house-3"))
        theirs = await ask(anna, RENAME, compiled=False, input=given(name))
        assert not theirs.compiled
        assert in_order(body(ours)) == in_order(body(theirs))
        assert ["house-3", name, "house-3", name] == RUNS

    async def test_a_dry_run_and_a_switch(self, ask: Ask, anna: Actor, house_database: Database) -> None:
        await ask(anna, RENAME, input=given("house-3"))
        answer = await ask(anna, RENAME, input=given("tried", dryRun=True), **{"with": False})
        assert answer.compiled
        assert list(body(answer)["data"]["done"]) == ["house", "errors"]
        async with house_database.read() as session:
            assert await session.scalar(select(House.name).where(House.id == HOUSES[3])) == "house-3"

    async def test_what_it_raises_is_worded_by_graphql_core(self, ask: Ask, anna: Actor) -> None:
        answer = await ask(anna, RENAME, input=given("broken"))
        assert not answer.compiled
        (error,) = answer.errors
        assert (error["path"], error["extensions"]["code"]) == (["done"], "INTERNAL_ERROR")
        assert RUNS == ["broken"]

    async def test_what_only_graphql_core_can_tell(self, ask: Ask, anna: Actor) -> None:
        text = RENAME.replace("price", 'viewerCan(permission: "none")')
        answer = await ask(anna, text, input=given("house-3"))
        assert not answer.compiled
        assert answer.errors[0]["path"] == ["done", "house", "viewerCan"]
        assert RUNS == ["house-3"]

    async def test_one_that_has_begun_ends_also_when_the_caller_leaves(
        self, composed: Composed, settings: Settings, anna: Actor, new_context: Any, house_database: Database
    ) -> None:
        executor = Executor(composed, settings)
        await executor.finish()
        async with house_database.transaction() as session:  # whoever changes the row now waits
            await session.execute(select(House.name).where(House.id == HOUSES[3]).with_for_update())
            RUNS.clear()
            asked = asyncio.create_task(executor.run(Request(RENAME, {"input": given("left")}), new_context(anna)))
            while not RUNS:
                await asyncio.sleep(0.01)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        await executor.finish()
        async with house_database.read() as session:
            assert await session.scalar(select(House.name).where(House.id == HOUSES[3])) == "left"

    async def test_a_wrong_input_does_nothing(self, ask: Ask, anna: Actor) -> None:
        answer = await ask(anna, RENAME, input={"name": 1})
        assert (answer.compiled, answer.executed) == (False, False)
        assert RUNS == []

    async def test_python_in_a_payload(self, ask: Ask, anna: Actor) -> None:
        answer = await ask(anna, RENAME.replace("price", "shouted"), input=given("house-3"))
        assert body(answer)["data"]["done"]["house"]["shouted"] == "HOUSE-3!"
        assert answer.compiled

    @pytest.mark.parametrize(
        "text",
        [
            "mutation { __typename }",
            """mutation ($i: RenameHouseInput!) { one: renameHouse(input: $i) { previous }
                two: renameHouse(input: $i) { previous } }""",
        ],
    )
    def test_not_compiled(self, both: Both, text: str) -> None:
        with pytest.raises(NotCompilable, match="one change"):
            compile_document(both.composed.schema, both.composed.catalogue, parse(text))

    async def test_one_that_is_left_out_is_not_done(self, both: Both, anna: Actor, new_context: Any) -> None:
        text = (
            "mutation ($i: RenameHouseInput!, $do: Boolean!) { renameHouse(input: $i) @include(if: $do) { previous } }"
        )
        made = compile_document(both.composed.schema, both.composed.catalogue, parse(text))
        assert isinstance(made, CompiledMutation)
        RUNS.clear()
        context: Context = new_context(anna)
        with pytest.raises(FallBack):
            await made.perform(context, {"i": given("house-3"), "do": False})
        assert RUNS == []
        performed = await made.perform(context, {"i": given("house-3"), "do": True})

        async def fetch(_sql: str, _arguments: Sequence[Any]) -> str:
            raise NotCompilable("met while it is told")

        with pytest.raises(FallBack):
            await made.tell(performed, fetch)
