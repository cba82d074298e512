"""A client whose server says what a test tells it to: for what depends on the answer alone."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from guildhall_client.client import Client


def client_told(*answers: dict[str, Any]) -> Client:
    """The `data` of one answer after the other; a question too many fails the test."""
    left: Iterator[dict[str, Any]] = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content)["variables"] is not None
        return httpx.Response(200, json={"data": next(left)})

    return Client("http://guildhall.test", "ghu_token", transport=httpx.MockTransport(answer))
