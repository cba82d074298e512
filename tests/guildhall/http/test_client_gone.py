"""A connection that ends before the request does: counted as cut off, never as a fault of ours."""

import json
from types import SimpleNamespace
from typing import Any

from guildhall.http.door import Door
from guildhall.http.graphql import GraphQLEndpoint


async def gone() -> Any:
    return {"type": "http.disconnect"}


class TestGraphQLEndpoint:
    async def test_who_is_gone_is_answered_in_json(self) -> None:
        door = Door(working_max=1, waiting_max=0)
        desk: Any = SimpleNamespace(
            door=door, reader=SimpleNamespace(body_bytes_max=100), settings=SimpleNamespace(graphql_graphiql=False)
        )
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope: Any = {"method": "POST", "query_string": b"", "headers": [(b"content-type", b"application/json")]}
        await GraphQLEndpoint(desk)(scope, gone, send)
        start, body = sent
        headers = dict(start["headers"])
        assert (start["status"], headers[b"content-type"], headers[b"retry-after"]) == (
            503,
            b"application/json; charset=utf-8",
            b"5",
        )
        (told,) = json.loads(body["body"])["errors"]
        assert (told["message"], told["extensions"]["code"]) == (
            "The connection ended before the request did.",
            "CLIENT_GONE",
        )
        with door.inside():
            pass
