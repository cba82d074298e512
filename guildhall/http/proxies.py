"""Whose call it is behind a proxy: the address that everything further in sees is the caller's.

X-Forwarded-For is believed of the networks of GUILDHALL_TRUSTED_PROXIES alone; nobody else's word is even read.
"""

from collections.abc import Sequence

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from guildhall.auth.networks import Network, caller_address

FORWARDED = b"x-forwarded-for"
_CALLS: frozenset[str] = frozenset({ScopeType.HTTP, ScopeType.WEBSOCKET})


class BehindProxies:
    """ASGI middleware that puts the caller's address in the place of a trusted proxy's."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        if self._trusted and scope["type"] in _CALLS:
            peer = scope.get("client")
            forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == FORWARDED]
            address = caller_address(None if peer is None else str(peer[0]), forwarded, self._trusted)
            if peer is not None and address is not None:
                scope["client"] = (address, peer[1])
        await self._app(scope, receive, send)
