"""Cursors that somebody made or took from elsewhere: one clear refusal, whichever way a document is answered."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from guildhall.auth.actor import Actor
from guildhall.db.kept_statements import KeptStatements
from guildhall.db.transaction import Database
from guildhall.graphql.compose import Composed
from guildhall.graphql.context import Context
from guildhall.graphql.cursors import MAC_BYTES, InvalidCursor
from guildhall.graphql.execution import Answer, Executor, Request
from guildhall.settings import Settings

ROOMS = """query ($after: String, $orderBy: RoomOrder) { houses(first: 9) { nodes {
    rooms(first: 1, after: $after, orderBy: $orderBy) { nodes { name } pageInfo { endCursor } } } } }"""
HOUSE_ROOMS = """query ($name: String!, $after: String, $orderBy: RoomOrder) { house(name: $name) {
    rooms(first: 1, after: $after, orderBy: $orderBy) { nodes { name } pageInfo { endCursor } } } }"""
HOUSES = "query ($after: String) { houses(first: 1, after: $after) { nodes { name } pageInfo { endCursor } } }"
VALUES = (
    "null", "true", "0", "-1", str(2**63), "1" + "0" * 400, "1.5", "1e999", "NaN", '"x"', "{}", "[]", '["s","x"]',
    r'["s","\u0000"]', r'["s","\ud800"]', '["t","2026-03-02T08:00:00.000000+00:00"]', '["t","2026-03-02T08:00:00"]',
    '["t","0001-01-01T00:00:00+23:59"]', '["t","9999-12-31T23:59:59-23:59"]', '["d","2026-03-02"]',
    '["u","00000000-0000-0000-0000-000000000001"]', '["n","1"]', '["n","NaN"]', '["n","1e99999"]',
    '["f","7ff8000000000000"]', '["f","0000000000000000"]', '["x","y"]', '["s",1]', '["s","x","y"]',
)  # fmt: skip
WORD, MOMENT = '["s","x"]', '["t","2026-03-02T08:00:00.000000+00:00"]'
KEY = '["u","00000000-0000-0000-0000-000000000001"]'
NAMES, MOMENTS = {"field": "NAME"}, {"field": "CREATED_AT"}

Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture(params=[True, False], ids=["by the statement", "by graphql-core"])
async def ask(
    request: pytest.FixtureRequest, house_database: Database, composed: Composed, settings: Settings, new_context: Any
) -> AsyncIterator[Ask]:
    """Run a document as a server does, with statements or without."""
    statements = KeptStatements(house_database.url, connections_max=1, statement_seconds=10)
    executor = Executor(composed, settings, statements if request.param else None)

    async def run(actor: Actor, text: str, **variables: Any) -> Answer:
        context: Context = new_context(actor)
        return await executor.run(Request(text, variables), context)

    yield run
    await statements.close()


def told(answer: Answer) -> Any:
    """What a caller reads, as one of the two ways gives it."""
    if isinstance(answer.data, dict) or answer.data is None:
        return json.loads(json.dumps(answer.body()))
    return {"data": json.loads(bytes(answer.data))}  # type: ignore[arg-type]


def require_refusal(answer: Answer) -> None:
    """One error with its code and a sentence, and nothing of the list."""
    body = told(answer)
    (error,) = body["errors"]
    assert error["extensions"]["code"] == "INVALID_CURSOR"
    assert error["message"] == str(InvalidCursor())
    assert list(body["data"].values()) == [None]


class TestForged:
    @pytest.mark.parametrize("order", [NAMES, MOMENTS], ids=["by name", "by moment"])
    @pytest.mark.parametrize("value", VALUES)
    async def test_a_body_of_one_s_own_is_refused(
        self, ask: Ask, anna: Actor, value: str, order: dict[str, str]
    ) -> None:
        """Below an object a cursor is believed until the object is known: what it says is bound to the statement."""
        for body in (f"[{value},{KEY}]", f"[{WORD},{value}]", f"[{MOMENT},{value}]", f"[{value}]", value):
            require_refusal(await ask(anna, HOUSES, after=forged(body)))
            require_refusal(await ask(anna, ROOMS, after=forged(body), orderBy=order))
            require_refusal(await ask(anna, HOUSE_ROOMS, name="house-0", after=forged(body), orderBy=order))

    @pytest.mark.parametrize("order", [NAMES, MOMENTS], ids=["by name", "by moment"])
    async def test_what_would_be_right_but_for_its_signature_is_refused(
        self, ask: Ask, anna: Actor, order: dict[str, str]
    ) -> None:
        given = {"name": "house-0", "orderBy": order}
        cursor = place(await ask(anna, HOUSE_ROOMS, **given))
        assert told(await ask(anna, HOUSE_ROOMS, after=cursor, **given))["data"]["house"]["rooms"]["nodes"] != []
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        require_refusal(await ask(anna, HOUSE_ROOMS, after=forged(raw[MAC_BYTES:].decode()), **given))


class TestTaken:
    async def test_a_signature_of_another_list_or_caller_is_refused(self, ask: Ask, anna: Actor, bert: Actor) -> None:
        room = place(await ask(anna, HOUSE_ROOMS, name="house-0"))
        house = place(await ask(anna, HOUSES))
        require_refusal(await ask(anna, HOUSES, after=room))
        require_refusal(await ask(anna, HOUSE_ROOMS, name="house-0", after=house))
        require_refusal(await ask(anna, HOUSE_ROOMS, name="house-1", after=room))
        require_refusal(await ask(anna, HOUSE_ROOMS, name="house-0", after=room, orderBy=NAMES))
        require_refusal(await ask(bert, HOUSE_ROOMS, name="house-0", after=room))
        require_refusal(await ask(bert, HOUSES, after=house))

    async def test_one_that_was_cut_short_is_refused(self, ask: Ask, anna: Actor) -> None:
        room = place(await ask(anna, HOUSE_ROOMS, name="house-0"))
        house = place(await ask(anna, HOUSES))
        for cut in (1, 2, 3, 4, 20, len(house) - 22, len(house) - 1, len(house)):
            require_refusal(await ask(anna, HOUSES, after=house[: len(house) - cut]))
            require_refusal(await ask(anna, HOUSE_ROOMS, name="house-0", after=room[: max(0, len(room) - cut)]))


def forged(body: str) -> str:
    """With a signature that somebody guessed."""
    return base64.urlsafe_b64encode(b"m" * MAC_BYTES + body.encode()).rstrip(b"=").decode()


def place(answer: Answer) -> str:
    """Where the page of an answer ends."""
    body = told(answer)["data"]
    listed = body["houses"] if "houses" in body else body["house"]["rooms"]
    cursor: str = listed["pageInfo"]["endCursor"]
    return cursor
