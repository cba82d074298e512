"""Bodies of the runner's requests: bounded, JSON, and of the shape that each route says."""

import json
from typing import Any, TypeVar

import msgspec
from litestar.types import Receive

from guildhall.errors import GuildhallError, Invalid, LimitExceeded

Shape = TypeVar("Shape")

BODY_BYTES_MAX = 16 * 1024 * 1024


class BodyTooLarge(LimitExceeded):
    """More bytes than a request of a runner may have."""

    code = "BODY_TOO_LARGE"


class BodyInvalid(Invalid):
    """No JSON, or JSON of another shape."""

    code = "BODY_INVALID"


class RunnerGone(GuildhallError):
    """The connection ended before the request did; nobody is left to read this."""

    code = "RUNNER_GONE"


class ReportBody(msgspec.Struct, kw_only=True, rename="camel"):
    """`POST reports`."""

    sequence: int
    logs: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    parameters: dict[str, Any] = {}
    progress: dict[str, Any] | None = None


class StartedBody(msgspec.Struct, kw_only=True, rename="camel"):
    """`POST started`."""

    environment: dict[str, Any]


class FileBody(msgspec.Struct, kw_only=True, rename="camel"):
    """One file of an output."""

    path: str
    size_bytes: int
    sha256: str


class MetricBody(msgspec.Struct, kw_only=True, rename="camel"):
    """One metric of an output."""

    name: str
    value: float
    split: str | None = None
    step: int | None = None


class OutputBody(msgspec.Struct, kw_only=True, rename="camel"):
    """`POST outputs`."""

    files: list[FileBody]
    metrics: list[MetricBody] = []
    parameters: dict[str, Any] = {}
    card: dict[str, str] = {}


class ResultBody(msgspec.Struct, kw_only=True, rename="camel"):
    """`POST result`."""

    outcome: str
    exit_code: int | None = None
    signal: int | None = None
    code: str = ""
    message: str = ""


async def read_body(receive: Receive, shape: type[Shape]) -> Shape:
    """The whole body as the shape; raises BodyTooLarge as soon as it is, BodyInvalid with what is wrong in it."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RunnerGone("The connection ended before the request did.")
        assert message["type"] == "http.request"
        chunks.append(message["body"])
        size += len(message["body"])
        if size > BODY_BYTES_MAX:
            raise BodyTooLarge(f"The body of a request has {BODY_BYTES_MAX} bytes at most.")
        if not message["more_body"]:
            break
    try:
        return msgspec.convert(_storable(json.loads(b"".join(chunks))), type=shape)
    except (ValueError, RecursionError) as error:
        raise BodyInvalid(f"The body cannot be read: {error}") from error


def _storable(value: Any) -> Any:  # noqa: ANN401 -- any JSON
    """The value with texts that UTF-8 and the database can hold: a script may print halves of characters and nulls.

    They are replaced and not refused, because a refusal would end the job.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, list):
        return [_storable(entry) for entry in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(entry) for name, entry in value.items()}
    return value
