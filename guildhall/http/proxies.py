"""Whose call it is behind a proxy: the address that everything further in sees is the caller's.

X-Forwarded-For and X-Forwarded-Proto are believed of the networks of GUILDHALL_TRUSTED_PROXIES alone; nobody else's
word is even read.
"""

from collections.abc import Awaitable, Sequence

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from guildhall.auth.networks import Network, caller_address, is_inside

FORWARDED = b"x-forwarded-for"
FORWARDED_SCHEME = b"x-forwarded-proto"
_CALLS: frozenset[str] = frozenset({ScopeType.HTTP, ScopeType.WEBSOCKET})


class BehindProxies:
    """ASGI middleware that puts the caller's address and scheme in the place of a trusted proxy's."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass everything on."""
        if self._trusted and scope["type"] in _CALLS:
            peer = scope.get("client")
            forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == FORWARDED]
            address = caller_address(None if peer is None else str(peer[0]), forwarded, self._trusted)
            if peer is not None and address is not None:
                scope["client"] = (address, peer[1])
            if peer is not None and is_inside(str(peer[0]), self._trusted):
                scope["scheme"] = _scheme(scope)
        return self._app(scope, receive, send)


def _scheme(scope: Scope) -> str:
    """As the nearest proxy was called, in the word that this kind of connection has for it."""
    said = [value.decode("latin-1") for name, value in scope["headers"] if name == FORWARDED_SCHEME]
    nearest = ",".join(said).rpartition(",")[2].strip().lower()
    known = {"http": "http", "ws": "http", "https": "https", "wss": "https"}.get(nearest)
    if known is None:
        return str(scope["scheme"])
    secure = known == "https"
    if scope["type"] == ScopeType.WEBSOCKET:
        return "wss" if secure else "ws"
    return known
