"""In front of Litestar: what is asked most is answered without a framework in between.

Litestar's routing, its request objects and its dependency injection cost as much as a short statement does, and
`/graphql` needs none of them. Everything else, and what lives as long as the process, stays with Litestar.
"""

from collections.abc import Awaitable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from guildhall.http.graphql import GraphQLEndpoint
from guildhall.http.websocket import GraphQLSockets

GRAPHQL_PATH = "/graphql"


class HotPath:
    """ASGI: one address here, all others there."""

    def __init__(self, graphql: GraphQLEndpoint, sockets: GraphQLSockets, others: ASGIApp) -> None:
        self._graphql = graphql
        self._sockets = sockets
        self._others = others

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass it on to who answers it."""
        if scope["type"] == ScopeType.HTTP and scope["path"] == GRAPHQL_PATH:
            scope["path_template"] = GRAPHQL_PATH
            return self._graphql(scope, receive, send)
        if scope["type"] == ScopeType.WEBSOCKET and scope["path"] == GRAPHQL_PATH:
            return self._sockets(scope, receive, send)
        return self._others(scope, receive, send)
