"""`GET /artifacts/{id}/preview?rows=N` shows the first rows of a table to whoever may read it at this moment.

It is a read like a download, on the same way: decided, narrowed, counted and recorded. What leaves is JSON.
"""

from functools import partial
from urllib.parse import parse_qs
from uuid import UUID

from litestar.types import HTTPScope, Receive, Send

from guildhall.errors import GuildhallError, Invalid
from registry.http.answers import send_refusal
from registry.http.desk import ArtifactDesk, desk_of
from registry.http.downloads import send_bytes
from registry.http.ranges import Span
from registry.http.routing import raw_route
from registry.http.sending import minimised_recorded, open_recorded, send_recorded

ROWS_MAX = 100
ROWS_DEFAULT = 20


class InvalidRows(Invalid):
    """A number of rows that no preview has."""

    code = "INVALID_ROWS"


@raw_route("/artifacts/{artifact_id:uuid}/preview", "GET")
async def preview_route(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Refusals are JSON, and recorded."""
    try:
        await _answer(desk_of(scope), scope, receive, send)
    except GuildhallError as error:
        await send_refusal(send, error)


async def _answer(desk: ArtifactDesk, scope: HTTPScope, receive: Receive, send: Send) -> None:
    actor = await desk.identify(scope)
    rows = _rows(scope)
    (file,) = await open_recorded(desk, actor, [UUID(str(scope["path_params"]["artifact_id"]))])
    shown = await minimised_recorded(desk, actor, file, shown_rows=rows)
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(shown.size_bytes)),
        ("cache-control", "private, no-store"),
        ("x-content-type-options", "nosniff"),
    ]
    span = Span(0, shown.size_bytes, partial=False)
    await send_recorded(desk, actor, [shown], span.size_bytes, partial(send_bytes, desk, span, headers, send), receive)


def _rows(scope: HTTPScope) -> int:
    given = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("rows", [str(ROWS_DEFAULT)])
    text = given[-1]
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= ROWS_MAX):
        raise InvalidRows(f"A preview has 1 to {ROWS_MAX} rows; {text[:20]!r} is no such number.", field="rows")
    return int(text)
