"""Plain ASGI answers and bounded bodies, for routes that need no more of a framework than its routing."""

from collections.abc import Callable, Iterable

from litestar.types import Receive, Send

from guildhall.errors import GuildhallError, LimitExceeded
from guildhall.patience import Within

BODY_SECONDS_MAX = 20
"""How long a client may take to send a body: it holds a place as long."""

Headers = Iterable[tuple[bytes, bytes]]


class BodyTooLarge(LimitExceeded):
    """More bytes than a request to this address may have."""

    code = "BODY_TOO_LARGE"


class BodyTooSlow(LimitExceeded):
    """A body that does not come to its end."""

    code = "BODY_TOO_SLOW"


class ClientGone(GuildhallError):
    """The connection ended before the body did, or before the answer was there; nobody is left to read this."""

    code = "CLIENT_GONE"


async def read_body(receive: Receive, bytes_max: int, *, hold: Callable[[int], None]) -> bytes:
    """The whole body; raises BodyTooLarge or BodyTooSlow as soon as it is, without reading on.

    `hold` is told of the bytes as they come and may refuse them; those of a body that is not returned are let go of.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        with Within(BODY_SECONDS_MAX):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone("The connection ended before the request did.")
                assert message["type"] == "http.request"
                chunks.append(message["body"])
                size += len(message["body"])
                hold(len(message["body"]))
                if size > bytes_max:
                    raise BodyTooLarge(f"The body of a request has {bytes_max} bytes at most.")
                if not message["more_body"]:
                    return b"".join(chunks)
    except TimeoutError as error:
        hold(-size)
        raise BodyTooSlow(f"The body of a request is sent within {BODY_SECONDS_MAX} seconds.") from error
    except GuildhallError:
        hold(-size)
        raise


async def send_bytes(send: Send, status: int, body: bytes, content_type: bytes | None, headers: Headers = ()) -> None:
    """A whole answer; one without a content type has no body either."""
    about = [*headers]
    if content_type is not None:
        about += ((b"content-type", content_type), (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": body, "more_body": False})
