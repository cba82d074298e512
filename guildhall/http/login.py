"""`/auth/…`: signing in and out with a browser, and what a command line must know to do it by itself.

What goes wrong is told on a page of one sentence, since nobody but a person at a browser comes here.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from html import escape
from http import HTTPStatus
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie, State
from litestar.enums import MediaType

from guildhall.auth.subjects import ActorKind
from guildhall.errors import Forbidden, GuildhallError, NotFound, RateLimited, Unauthenticated, Unavailable
from guildhall.http.attempts import SharedAttempts
from guildhall.http.credentials import COOKIE, SIGN_IN_COOKIE, Cookies, require_own_page, require_page_of_its_own
from guildhall.http.graphiql_page import PAGE_HEADERS
from guildhall.http.identity import Identity, request_context
from guildhall.http.signing_in import SignInDesk
from guildhall.organisation.sessions import sign_out_everywhere
from guildhall.organisation.tokens import revoke_token
from guildhall.settings import Settings

STATE_KEY = "login_desk"
SIGN_IN_SECONDS = 600

AnyRequest = Request[Any, Any, Any]
Answer = Response[Any]
Route = Callable[[AnyRequest, State], Awaitable[Answer]]


class NotAPerson(Forbidden):
    """A program's or a job's token where a person is meant."""

    code = "NOT_A_PERSON"


class NoSignIn(NotFound):
    """No issuer is set up for browsers."""

    code = "NO_SIGN_IN"


@dataclass(frozen=True, kw_only=True)
class LoginDesk:
    """What the routes need of the process."""

    identity: Identity
    signing_in: SignInDesk
    attempts: SharedAttempts
    settings: Settings

    @property
    def cookies(self) -> Cookies:
        """Ours, at the address that browsers know."""
        return Cookies(self.settings.public_url)


def _told(route: Route) -> Route:
    """Each refusal on a page of its own, under the status of its family; anything else is masked further out."""

    @wraps(route)
    async def told(request: AnyRequest, state: State) -> Answer:
        try:
            return await route(request, state)
        except tuple(_STATUS) as error:
            return _page(error)

    return told


@get("/auth/settings", include_in_schema=False, sync_to_thread=False)
def settings_route(state: State) -> dict[str, Any]:
    """How a command line signs people in: with which issuer, as which public client, for what; null: with a token."""
    settings = _desk(state).settings
    offered = settings.oidc_issuer is not None and settings.oidc_cli_client_id is not None
    return {
        "issuer": settings.oidc_issuer if offered else None,
        "clientId": settings.oidc_cli_client_id if offered else None,
        "scopes": list(settings.oidc_scopes),
        "audience": settings.oidc_audience,
        "browser": _desk(state).signing_in.client is not None,
    }


@get("/auth/login", include_in_schema=False)
@_told
async def login_route(request: AnyRequest, state: State) -> Answer:
    """Send the browser to the issuer; `next` is a path of ours to come back to."""
    desk = _desk(state)
    client = desk.signing_in.client
    if client is None:
        raise NoSignIn("No issuer is set up for browsers here: sign in with a token (GUILDHALL_OIDC_CLIENT_ID).")
    require_page_of_its_own(request.scope)  # else any page could use up what the visitor's network may begin
    context, at = request_context(request.scope), desk.identity.clock.now()
    await desk.attempts.admit(context.address, at)
    await desk.attempts.count(context, at, None)
    address, sealed = await client.begin(request.query_params.get("next", "/"), at=at)
    return _sent_on(address, desk.cookies.made(SIGN_IN_COOKIE, sealed, seconds=SIGN_IN_SECONDS))


@get("/auth/callback", include_in_schema=False)
@_told
async def callback_route(request: AnyRequest, state: State) -> Answer:
    """The browser is back from the issuer: a session begins, and one that this browser had before ends."""
    desk = _desk(state)
    if desk.signing_in.client is None:
        raise NoSignIn("No issuer is set up for browsers here: sign in with a token (GUILDHALL_OIDC_CLIENT_ID).")
    context, at = request_context(request.scope), desk.identity.clock.now()
    await desk.attempts.admit(context.address, at)
    headers = dict(request.scope["headers"])
    answer = {name: value for name, value in request.query_params.items() if isinstance(value, str)}
    try:
        text, path = await desk.signing_in.begin_session(desk.cookies.read(headers, SIGN_IN_COOKIE), answer, context)
    except Unauthenticated as error:
        await desk.attempts.count(context, at, error)
        raise
    return _sent_on(
        path,
        desk.cookies.made(COOKIE, text, seconds=desk.settings.session_seconds),
        desk.cookies.made(SIGN_IN_COOKIE, "", seconds=0),
    )


@post("/auth/logout", include_in_schema=False, status_code=200)
@_told
async def logout_route(request: AnyRequest, state: State) -> Answer:
    """End what the request shows, a session or a token; who shows nothing that counts is signed out already."""
    desk = _desk(state)
    shown = desk.identity.shown(request.scope)
    if shown is None and "origin" in request.headers:  # a page of others cannot send the cookie, but would clear it
        require_own_page(request.scope, desk.settings.public_url)
    try:
        actor = None if shown is None else await desk.identity.of(shown, request.scope)
    except Unauthenticated:
        actor = None
    if actor is not None:
        assert actor.token is not None, "who was identified showed a token"
        signing_in, at = desk.signing_in, desk.identity.clock.now()
        async with signing_in.database.transaction() as session:
            await revoke_token(session, actor, actor.token.id, at=at, new_id=signing_in.new_id)
    return await _signed_out(request, desk)


@post("/auth/logout-everywhere", include_in_schema=False, status_code=200)
@_told
async def logout_everywhere_route(request: AnyRequest, state: State) -> Answer:
    """End every session of the caller, and every token that the issuer made for them until now."""
    desk = _desk(state)
    actor = await desk.identity.actor(request.scope)
    if actor.kind is not ActorKind.USER:
        raise NotAPerson("Only people sign in, so only they sign out everywhere; end a program's tokens one by one.")
    signing_in, at = desk.signing_in, desk.identity.clock.now()
    async with signing_in.database.transaction() as session:
        await sign_out_everywhere(session, actor, actor.id, at=at, new_id=signing_in.new_id)
    return await _signed_out(request, desk)


ROUTES = [settings_route, login_route, callback_route, logout_route, logout_everywhere_route]


def _desk(state: State) -> LoginDesk:
    desk = state[STATE_KEY]
    assert isinstance(desk, LoginDesk), f"the application's state has no {STATE_KEY}"
    return desk


async def _signed_out(request: AnyRequest, desk: LoginDesk) -> Answer:
    """The cookie is gone; where the issuer has a place to end its own session at, a browser is sent there."""
    client, where = desk.signing_in.client, "/"
    with suppress(Unavailable):  # whoever wants out need not wait for the issuer
        if client is not None:
            where = await client.farewell(desk.settings.public_url, at=desk.identity.clock.now())
    forgotten = desk.cookies.made(COOKIE, "", seconds=0)
    if MediaType.HTML in request.headers.get("accept", ""):
        return _sent_on(where, forgotten)
    return Response({"next": where}, cookies=[forgotten], headers={"cache-control": "no-store"})


def _sent_on(address: str, *cookies: Cookie) -> Answer:
    about = {"location": address, "cache-control": "no-store"}
    return Response(b"", status_code=303, headers=about, cookies=cookies)


_STATUS: Mapping[type[GuildhallError], int] = {
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    RateLimited: 429,
    Unavailable: 503,
}


def _page(error: GuildhallError) -> Answer:
    (status,) = {_STATUS[family] for family in type(error).__mro__ if family in _STATUS}
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Guildhall</title></head>'
        f"<body><h1>{HTTPStatus(status).phrase}</h1><p>{escape(error.message)}</p>"
        '<p><a href="/auth/login">Sign in</a></p></body></html>'
    )
    headers = dict(PAGE_HEADERS)
    if isinstance(error, RateLimited):
        headers["retry-after"] = str(error.retry_after_seconds)
    return Response(page, status_code=status, media_type=MediaType.HTML, headers=headers)
