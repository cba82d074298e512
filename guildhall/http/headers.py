"""A request's headers by their names, read once for all who look at them."""

from collections.abc import Mapping

from litestar.types import HTTPScope, WebSocketScope

_STATE = "guildhall_headers"
"""Where the scope's state keeps them."""


def headers_of(scope: HTTPScope | WebSocketScope) -> Mapping[bytes, bytes]:
    """The headers; of a name that was sent twice, the last."""
    state = scope.setdefault("state", {})
    found: Mapping[bytes, bytes] | None = state.get(_STATE)
    if found is None:
        found = state[_STATE] = dict(scope["headers"])
    return found
