"""One transaction, one domain call, idempotency under rivals, errors where callers look for them."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, text

from guildhall.auth.actor import Actor
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.transaction import Database
from guildhall.graphql.ids import encode_id
from guildhall.graphql.tables import IdempotencyKey
from guildhall.hints import HINTS
from tests.guildhall.graphql import example
from tests.guildhall.graphql.conftest import HOUSES, Run
from tests.guildhall.graphql.example import House

RENAME = """mutation ($input: RenameHouseInput!) { renameHouse(input: $input) {
    house { id name rooms { totalCount } } previous errors { code field message } } }"""
LAST = encode_id("House", HOUSES[3])


async def names(database: Database) -> dict[str, str]:
    async with database.read() as session:
        return {str(key): name for key, name in (await session.execute(select(House.id, House.name))).all()}


async def keys(database: Database) -> list[str]:
    async with database.read() as session:
        return list(await session.scalars(select(IdempotencyKey.key)))


@pytest.fixture(autouse=True)
def _forget_runs() -> None:
    example.RUNS.clear()


class TestRunMutation:
    async def test_the_answer_is_loaded_after_the_commit(self, run: Run, anna: Actor, house_database: Database) -> None:
        answer = await run(anna, RENAME, input={"houseId": LAST, "name": "attic"})
        assert answer == {
            "data": {
                "renameHouse": {
                    "house": {"id": LAST, "name": "attic", "rooms": {"totalCount": 0}},
                    "previous": "house-3",
                    "errors": [],
                }
            }
        }
        assert (await names(house_database))[str(HOUSES[3])] == "attic"
        await run(anna, RENAME, input={"houseId": LAST, "name": "house-3"})

    @pytest.mark.parametrize(
        ("given", "code", "field"),
        [
            ({"houseId": LAST, "name": ""}, "INVALID_INPUT", "name"),
            ({"houseId": LAST, "name": "taken"}, "NAME_TAKEN", "name"),
            ({"houseId": "House_1", "name": "x"}, "NOT_FOUND", "houseId"),
            ({"houseId": encode_id("Room", HOUSES[3]), "name": "x"}, "NOT_FOUND", "houseId"),
            ({"houseId": LAST, "name": "x", "idempotencyKey": ""}, "INVALID_IDEMPOTENCY_KEY", "idempotencyKey"),
            ({"houseId": LAST, "name": "x", "idempotencyKey": "k" * 201}, "INVALID_IDEMPOTENCY_KEY", "idempotencyKey"),
        ],
    )
    async def test_what_the_caller_can_mend_is_in_the_payload_and_nothing_changes(
        self, run: Run, anna: Actor, house_database: Database, given: dict[str, Any], code: str, field: str
    ) -> None:
        before = await names(house_database)
        answer = await run(anna, RENAME, input=given)
        payload = answer["data"]["renameHouse"]
        assert "errors" not in answer
        assert payload["house"] is None
        assert [(error["code"], error["field"]) for error in payload["errors"]] == [(code, field)]
        assert await names(house_database) == before

    async def test_a_fault_of_ours_is_masked_and_rolled_back(
        self, run: Run, anna: Actor, house_database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = await names(house_database)
        answer = await run(anna, RENAME, input={"houseId": LAST, "name": "broken", "idempotencyKey": "broken"})
        (error,) = answer["errors"]
        assert error["extensions"]["code"] == "INTERNAL_ERROR"
        assert "ours" not in error["message"].replace("our side", "")
        assert error["extensions"]["errorId"] in error["message"]
        assert error["extensions"]["errorId"] in caplog.text
        assert "a fault of ours" in caplog.text
        assert await names(house_database) == before
        assert "broken" not in await keys(house_database)

    async def test_a_dry_run_answers_and_stores_nothing(self, run: Run, anna: Actor, house_database: Database) -> None:
        before = await names(house_database)
        given = {"houseId": LAST, "name": "tried", "dryRun": True, "idempotencyKey": "dry"}
        answer = await run(anna, RENAME, input=given)
        assert answer["data"]["renameHouse"]["previous"] == "house-3"
        assert answer["data"]["renameHouse"]["errors"] == []
        assert await names(house_database) == before
        assert "dry" not in await keys(house_database)

    async def test_an_anonymous_caller_changes_nothing(self, run: Run, house_database: Database) -> None:
        before = await names(house_database)
        answer = await run(None, RENAME, input={"houseId": LAST, "name": "mine"})
        assert answer["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED", "hint": HINTS["UNAUTHENTICATED"]}
        assert await names(house_database) == before

    async def test_what_the_commit_refuses_is_an_error(
        self, run: Run, anna: Actor, server: Any, house_database: Database
    ) -> None:
        connection = await server.connect(OWNER_ROLE, str(house_database.engine.url.database))
        await connection.execute("""
            CREATE FUNCTION refuse_cellar() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN IF NEW.name = 'cellar' THEN RAISE EXCEPTION 'no cellars' USING ERRCODE = 'check_violation'; END IF;
            RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER cellar AFTER UPDATE ON example_houses DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION refuse_cellar()
        """)
        await connection.close()
        before = await names(house_database)
        answer = await run(anna, RENAME, input={"houseId": LAST, "name": "cellar", "idempotencyKey": "cellar"})
        assert answer["data"] is None
        assert answer["errors"][0]["extensions"]["code"] == "INTERNAL_ERROR"
        assert await names(house_database) == before
        assert "cellar" not in await keys(house_database)


class TestIdempotency:
    async def test_a_hundred_callers_with_one_key_act_once_and_get_one_answer(
        self, run: Run, anna: Actor, house_database: Database
    ) -> None:
        given = {"houseId": LAST, "name": "house-3", "idempotencyKey": "hundred"}
        answers = await asyncio.gather(*(run(anna, RENAME, input=given) for _ in range(100)))
        assert example.RUNS == ["house-3"]
        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["data"]["renameHouse"]["errors"] == []
        assert (await keys(house_database)).count("hundred") == 1

    async def test_a_key_with_another_input_is_refused(self, run: Run, anna: Actor, house_database: Database) -> None:
        given = {"houseId": LAST, "name": "house-3", "idempotencyKey": "reused"}
        await run(anna, RENAME, input=given)
        before = await names(house_database)
        answer = await run(anna, RENAME, input={**given, "name": "other"})
        assert [(error["code"], error["field"]) for error in answer["data"]["renameHouse"]["errors"]] == [
            ("IDEMPOTENCY_KEY_REUSED", "idempotencyKey")
        ]
        assert await names(house_database) == before

    async def test_keys_are_each_caller_s_own(self, run: Run, anna: Actor, bert: Actor) -> None:
        given = {"houseId": LAST, "name": "house-3", "idempotencyKey": "shared"}
        await run(anna, RENAME, input=given)
        await run(bert, RENAME, input=given)
        assert example.RUNS == ["house-3", "house-3"]

    async def test_a_refused_call_leaves_its_key_free(self, run: Run, anna: Actor, house_database: Database) -> None:
        given = {"houseId": LAST, "name": "taken", "idempotencyKey": "again"}
        await run(anna, RENAME, input=given)
        assert "again" not in await keys(house_database)
        answer = await run(anna, RENAME, input={**given, "name": "house-3"})
        assert answer["data"]["renameHouse"]["errors"] == []

    async def test_rivals_of_a_call_that_fails_try_for_themselves(self, run: Run, anna: Actor) -> None:
        given = {"houseId": LAST, "name": "taken", "idempotencyKey": "rivals"}
        answers = await asyncio.gather(*(run(anna, RENAME, input=given) for _ in range(10)))
        assert {answer["data"]["renameHouse"]["errors"][0]["code"] for answer in answers} == {"NAME_TAKEN"}
        assert example.RUNS == ["taken"] * 10

    async def test_the_service_cannot_forge_an_empty_key(self, house_database: Database) -> None:
        with pytest.raises(Exception, match="key_length"):
            async with house_database.transaction() as session:
                await session.execute(
                    text("INSERT INTO idempotency_keys VALUES (:id, 'x', '', sha256('x'), null, '2026-01-01')"),
                    {"id": HOUSES[0]},
                )
