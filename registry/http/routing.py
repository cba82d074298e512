"""Routes that speak ASGI themselves, below an address with parameters.

Litestar's own `@asgi` handlers cannot have path parameters: its router looks for them under the request's method and
fails with a KeyError (2.25). So each is an ordinary route that answers with an ASGI application.
"""

from collections.abc import Awaitable, Callable

from litestar import Request, route
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Method, Receive, Scope, Send

Speak = Callable[[HTTPScope, Receive, Send], Awaitable[None]]


def raw_route(path: str, *methods: Method) -> Callable[[Speak], HTTPRouteHandler]:
    """Decorates `async function(scope, receive, send)`, which reads the body and answers by itself."""
    return lambda speak: route(path, http_method=list(methods))(_handler(speak))


def _handler(speak: Speak) -> Callable[..., Awaitable[ASGIApp]]:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == ScopeType.HTTP
        await speak(scope, receive, send)

    async def handle(request: Request) -> ASGIApp:  # type: ignore[type-arg]
        del request
        return respond

    handle.__name__ = speak.__name__
    return handle
