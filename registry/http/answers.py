"""Answers of the artifact routes: JSON, and each refusal as `{"error": {"code", "message"}}` under its status."""

import json
from collections.abc import Iterable
from typing import Any

from litestar.types import Send

from guildhall.errors import (
    Conflict,
    Forbidden,
    GuildhallError,
    Invalid,
    LimitExceeded,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from guildhall.hints import hint_of

STATUS: dict[type, int] = {
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    LimitExceeded: 413,
    RateLimited: 429,
    Unavailable: 503,
    Invalid: 400,
}
"""By family of refusal."""
RETRY_SECONDS = 5

Headers = Iterable[tuple[str, str]]


async def send_start(send: Send, status: int, headers: Headers) -> None:
    """The status line and the headers."""
    encoded = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def send_empty(send: Send, status: int, headers: Headers = ()) -> None:
    """A whole answer without a body."""
    await send_start(send, status, headers)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def send_json(send: Send, status: int, value: Any, headers: Headers = ()) -> None:  # noqa: ANN401 -- any JSON
    """A whole answer."""
    body = json.dumps(value, ensure_ascii=False).encode()
    about = [("content-type", "application/json"), ("content-length", str(len(body))), ("cache-control", "no-store")]
    await send_start(send, status, [*about, *headers])
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_refusal(send: Send, error: GuildhallError, *, with_body: bool = True) -> None:
    """A refusal under the status of its family; unknown families are a programmer's mistake."""
    (status,) = {STATUS[family] for family in type(error).__mro__ if family in STATUS}
    headers = []
    if status == STATUS[Unauthenticated]:
        headers.append(("www-authenticate", 'Bearer realm="Guildhall"'))
    if status == STATUS[Unavailable]:
        headers.append(("retry-after", str(RETRY_SECONDS)))
    if isinstance(error, RateLimited):
        headers.append(("retry-after", str(error.retry_after_seconds)))
    if with_body:
        told = {"code": error.code, "message": error.message, **error.details}
        hint = hint_of(error.code)
        await send_json(send, status, {"error": told if hint is None else {**told, "hint": hint}}, headers)
    else:
        await send_empty(send, status, headers)
