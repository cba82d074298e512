"""Following with either client: streams that break off, refusals, and what cannot go on."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from guildhall_client import steps
from guildhall_client.async_client import AsyncClient
from guildhall_client.client import Client
from guildhall_client.errors import Refused, Unreachable

Follow = Callable[..., list[dict[str, Any]]]
COMPLETE = "event: complete\ndata:\n\n"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "BACKOFF_SECONDS_FIRST", 0.0)


class Script:
    """Answers one after the other; an exception is raised instead."""

    def __init__(self, *answers: httpx.Response | Exception, bearers: Sequence[str] = ()) -> None:
        self._left = list(answers)
        self._bearers = list(bearers or ["ghu_token"] * len(answers))
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["accept"] == "text/event-stream"
        assert request.headers["authorization"] == f"Bearer {self._bearers.pop(0)}"
        self.asked.append(json.loads(request.content)["variables"])
        answer = self._left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(params=["sync", "async"])
def follow(request: pytest.FixtureRequest) -> Follow:
    """All changes of a job that either client sees; with `tokens` it is asked for one after the other."""

    def run(script: Script, after: str | None = None, tokens: Sequence[str] = ()) -> list[dict[str, Any]]:
        transport = httpx.MockTransport(script)
        left = iter(tokens)

        async def next_token() -> str:
            return next(left)

        if request.param == "sync":
            with Client(
                "http://guildhall.test", (lambda: next(left)) if tokens else "ghu_token", transport=transport
            ) as client:
                return list(client.follow_job("Job_1", after))

        async def run_async() -> list[dict[str, Any]]:
            async with AsyncClient(
                "http://guildhall.test", next_token if tokens else "ghu_token", transport=transport
            ) as client:
                return [change async for change in client.follow_job("Job_1", after)]

        with asyncio.Runner() as runner:
            return runner.run(run_async())

    return run


def stream(*changes: str, end: str = COMPLETE, cursor: bool = True) -> httpx.Response:
    """A stream of changes whose cursors are their names."""
    text = ":\n\n"
    for name in changes:
        change = {"cursor": name, "state": name} if cursor else {"state": name}
        text += f"event: next\ndata: {json.dumps({'data': {'jobChanges': change}})}\n\n"
    return httpx.Response(200, text=text + end)


def refusal(code: str) -> str:
    payload = {"errors": [{"message": "No.", "extensions": {"code": code}}]}
    return f"event: next\ndata: {json.dumps(payload)}\n\n" + COMPLETE


def states(changes: list[dict[str, Any]]) -> str:
    return "".join(change["state"] for change in changes)


class TestFollowing:
    def test_to_the_end(self, follow: Follow) -> None:
        script = Script(stream("a", "b"))
        assert states(follow(script)) == "ab"
        assert script.asked == [{"id": "Job_1", "after": None}]

    def test_goes_on_after_the_last_cursor(self, follow: Follow) -> None:
        script = Script(
            stream("a", "b", end=""), httpx.ConnectError("gone"), httpx.Response(503), stream("c", end=""), stream("d")
        )
        assert states(follow(script)) == "abcd"
        assert [asked["after"] for asked in script.asked] == [None, "b", "b", "b", "c"]

    def test_begins_after_a_cursor(self, follow: Follow) -> None:
        script = Script(stream("c"))
        assert states(follow(script, "b")) == "c"
        assert script.asked == [{"id": "Job_1", "after": "b"}]

    @pytest.mark.parametrize("code", ["NOT_FOUND", "TOKEN_REFUSED"])
    def test_a_refusal_in_the_stream_is_raised(self, follow: Follow, code: str) -> None:
        with pytest.raises(Refused, match=code):
            follow(Script(stream("a", end=refusal(code))))

    def test_goes_on_with_the_next_token(self, follow: Follow) -> None:
        ended = {"errors": [{"message": "Sign in first.", "extensions": {"code": "UNAUTHENTICATED"}}]}
        script = Script(
            stream("a", end=refusal("TOKEN_REFUSED")), httpx.Response(401, json=ended), stream("b"),
            bearers=["ghu_token", "ghu_second", "ghu_third"],
        )  # fmt: skip
        tokens = ["ghu_token", "ghu_second", "ghu_second", "ghu_third", "ghu_third"]
        assert states(follow(script, tokens=tokens)) == "ab"
        assert [asked["after"] for asked in script.asked] == [None, "a", "a"]

    def test_what_has_no_cursor_ends_with_its_token(self, follow: Follow) -> None:
        script = Script(stream("a", end=refusal("TOKEN_REFUSED"), cursor=False))
        with pytest.raises(Refused, match="TOKEN_REFUSED"):
            follow(script, tokens=["ghu_token", "ghu_next"])

    def test_a_refusal_of_the_request_is_raised(self, follow: Follow) -> None:
        body = {"errors": [{"message": "Sign in first.", "extensions": {"code": "UNAUTHENTICATED"}}]}
        with pytest.raises(Refused, match="UNAUTHENTICATED"):
            follow(Script(httpx.Response(401, json=body)))

    @pytest.mark.parametrize("body", ["<html>", "{}", '{"errors": []}', '{"errors": [7]}'])
    def test_another_server_is_told_from_ours(self, follow: Follow, body: str) -> None:
        with pytest.raises(Unreachable, match="not as Guildhall does"):
            follow(Script(httpx.Response(404, text=body)))

    def test_tries_that_bring_nothing_are_counted(self, follow: Follow) -> None:
        script = Script(*[stream(end="") for _ in range(steps.TRIES_MAX)])
        with pytest.raises(Unreachable, match="ended without being complete"):
            follow(script)
        assert len(script.asked) == steps.TRIES_MAX

    def test_what_has_no_cursor_is_not_repeated(self, follow: Follow) -> None:
        with pytest.raises(Unreachable, match="without `cursor`"):
            follow(Script(stream("a", end="", cursor=False)))
