"""Plain ASGI answers and bounded bodies, for routes that need no more of a framework than its routing."""

from collections.abc import Iterable
from typing import Any

import msgspec
from litestar.types import Receive, Send

from guildhall.errors import GuildhallError, LimitExceeded

Headers = Iterable[tuple[str, str]]


class BodyTooLarge(LimitExceeded):
    """More bytes than a request to this address may have."""

    code = "BODY_TOO_LARGE"


class ClientGone(GuildhallError):
    """The connection ended before the body did; nobody is left to read this."""

    code = "CLIENT_GONE"


async def read_body(receive: Receive, bytes_max: int) -> bytes:
    """The whole body; raises BodyTooLarge as soon as it is, without reading on."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The connection ended before the request did.")
        assert message["type"] == "http.request"
        chunks.append(message["body"])
        size += len(message["body"])
        if size > bytes_max:
            raise BodyTooLarge(f"The body of a request has {bytes_max} bytes at most.")
        if not message["more_body"]:
            return b"".join(chunks)


async def send_bytes(send: Send, status: int, body: bytes, content_type: str, headers: Headers = ()) -> None:
    """A whole answer."""
    about = [("content-type", content_type), ("content-length", str(len(body))), *headers]
    encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in about]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_json(
    send: Send,
    status: int,
    value: Any,  # noqa: ANN401 -- any JSON
    *,
    content_type: str = "application/json; charset=utf-8",
    headers: Headers = (),
) -> None:
    """A whole answer in JSON that nobody may keep."""
    await send_bytes(send, status, msgspec.json.encode(value), content_type, [("cache-control", "no-store"), *headers])
