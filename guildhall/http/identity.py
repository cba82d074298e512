"""Who is calling, by what the request shows, and where the call came from."""

from dataclasses import dataclass

from litestar.types import HTTPScope, WebSocketScope

from guildhall.auth.actor import Actor, RequestContext
from guildhall.auth.attempts import TooManyAttempts
from guildhall.auth.claims import NotOfIssuer
from guildhall.auth.policies import Policies
from guildhall.auth.tokens import (
    TokenExpired,
    TokenMalformed,
    TokenUnknown,
    authenticate,
    authenticate_by_hash,
    identify_again,
    is_issuers,
    is_session_token,
    may_be_known,
    note_use,
)
from guildhall.clock import Clock
from guildhall.db.transaction import Database
from guildhall.errors import Unauthenticated
from guildhall.http.attempts import SharedAttempts
from guildhall.http.credentials import Credential, credential_of
from guildhall.http.headers import headers_of
from guildhall.http.signing_in import SignInDesk

CLIENT_CHARACTERS_MAX = 200
REQUEST_ID = "guildhall_request_id"
"""Where the scope's state keeps the id of the request."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Turns a request into its caller."""

    database: Database
    policies: Policies
    clock: Clock
    attempts: SharedAttempts
    signing_in: SignInDesk
    public_url: str

    async def actor(self, scope: HTTPScope) -> Actor:
        """The caller; raises Unauthenticated where there is none, TooManyAttempts, IssuerUnavailable."""
        shown = self.shown(scope)
        if shown is None:
            raise Unauthenticated("Sign in first: send a token as `Authorization: Bearer …`.")
        return await self.of(shown, scope)

    def shown(self, scope: HTTPScope | WebSocketScope) -> Credential | None:
        """What the request shows, None where it is nobody's; raises InvalidAuthorization, CrossSite."""
        return credential_of(scope, self.public_url)

    async def of(self, shown: Credential, scope: HTTPScope | WebSocketScope) -> Actor:
        """The caller who shows it, under the policy in force now; asked again for as long as a stream is open.

        What does not count is refused, never ignored. Only what was never a token here counts as a failed attempt. A
        token for which the issuer vouches need not wait for what others tried, though nobody has seen it before.
        """
        request, at, digest = request_context(scope), self.clock.now(), shown.digest
        try:
            await self.attempts.admit(request.address, at, token_hash=digest if may_be_known(shown.text) else None)
        except TooManyAttempts:
            issuer = None if shown.of_browser else self.signing_in.issuer
            if issuer is None or not issuer.vouches(shown.text, address=request.address, at=at):
                raise
        try:
            actor = await self._found(shown, digest, request)
        except (TokenUnknown, NotOfIssuer, TokenMalformed) as error:
            await self.attempts.count(request, at, error, token_hash=digest)
            raise
        self.attempts.succeeded(digest)
        await note_use(self.database, actor, at=at)
        return actor

    async def still(self, actor: Actor) -> Actor:
        """The caller of a request that is under way, as they are now; raises TokenRefused, see `identify_again`."""
        return await identify_again(self.database, self.policies, actor, at=self.clock.now())

    async def _found(self, shown: Credential, digest: bytes, request: RequestContext) -> Actor:
        if shown.of_browser:
            if not is_session_token(shown.text):
                raise TokenMalformed("The cookie is not of a session of Guildhall: sign in again.")
            try:
                return await self._known(digest, request)
            except TokenExpired:
                await self.signing_in.renew(digest, request)
            try:
                return await self._known(digest, request)
            except TokenExpired as error:
                raise TokenExpired("This session has ended: sign in again.") from error
        if not is_issuers(shown.text):
            at = self.clock.now()
            return await authenticate(self.database, self.policies, shown.text, at=at, request=request)
        try:
            return await self._known(digest, request)
        except TokenUnknown:
            if self.signing_in.issuer is None:
                message = "This is not a token of Guildhall, and no issuer of others is set up here."
                raise TokenUnknown(message) from None
            await self.signing_in.admit(shown.text, request)
        return await self._known(digest, request)

    async def _known(self, digest: bytes, request: RequestContext) -> Actor:
        return await authenticate_by_hash(self.database, self.policies, digest, at=self.clock.now(), request=request)


def request_context(scope: HTTPScope | WebSocketScope) -> RequestContext:
    """Where the call came from, for the audit record; behind a trusted proxy the address is already the caller's."""
    client = scope.get("client")
    agent = headers_of(scope).get(b"user-agent")
    return RequestContext(
        request_id=request_id(scope),
        address=None if client is None else str(client[0]),
        client=None if agent is None else agent[:CLIENT_CHARACTERS_MAX].decode("latin-1"),
    )


def request_id(scope: HTTPScope | WebSocketScope) -> str:
    """The id that the middleware gave the request."""
    return str(scope.get("state", {}).get(REQUEST_ID, ""))
