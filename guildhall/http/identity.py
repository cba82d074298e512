"""Who is calling: the bearer token of the Authorization header, and where the call came from."""

from dataclasses import dataclass

from litestar.datastructures import Headers
from litestar.types import HTTPScope, WebSocketScope

from guildhall.auth.actor import Actor, RequestContext
from guildhall.auth.policies import Policies
from guildhall.auth.tokens import identify
from guildhall.clock import Clock
from guildhall.db.transaction import Database
from guildhall.errors import Unauthenticated

CLIENT_CHARACTERS_MAX = 200
REQUEST_ID = "guildhall_request_id"
"""Where the scope's state keeps the id of the request."""


class InvalidAuthorization(Unauthenticated):
    """An Authorization header that is no bearer token."""


@dataclass(frozen=True)
class Identity:
    """Turns a request into its caller."""

    database: Database
    policies: Policies
    clock: Clock

    async def actor(self, scope: HTTPScope) -> Actor:
        """The caller; raises Unauthenticated where there is none."""
        found = await self.actor_or_none(scope)
        if found is None:
            raise Unauthenticated("Sign in first: send a token as `Authorization: Bearer …`.")
        return found

    async def actor_or_none(self, scope: HTTPScope) -> Actor | None:
        """The caller, or None without a token; a token that does not count is refused, never ignored."""
        header = Headers.from_scope(scope).get("authorization")
        return None if header is None else await self.of_token(bearer(header), scope)

    async def of_token(self, token: str, scope: HTTPScope | WebSocketScope) -> Actor:
        """The caller whose token it is, under the policy in force now; asked again for as long as a stream is open."""
        return await identify(self.database, self.policies, token, at=self.clock.now(), request=request_context(scope))


def bearer(header: str) -> str:
    """The token of an Authorization header; raises InvalidAuthorization."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise InvalidAuthorization("The Authorization header must be `Bearer` and a token.")
    return text.strip()


def request_context(scope: HTTPScope | WebSocketScope) -> RequestContext:
    """Where the call came from, for the audit record. The peer's address: no proxy's word is taken."""
    client = scope.get("client")
    agent = dict(scope["headers"]).get(b"user-agent")
    return RequestContext(
        request_id=request_id(scope),
        address=None if client is None else str(client[0]),
        client=None if agent is None else agent[:CLIENT_CHARACTERS_MAX].decode("latin-1"),
    )


def request_id(scope: HTTPScope | WebSocketScope) -> str:
    """The id that the middleware gave the request."""
    return str(scope.get("state", {}).get(REQUEST_ID, ""))
