"""Signing in without a browser of our own: the device flow (RFC 8628) with the issuer that the server names."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from guildhall_client.command.exits import WHEN_UNREACHABLE, CommandFailed, Exit, NotSignedIn

TIMEOUT_SECONDS = 15.0
INTERVAL_SECONDS = 5.0
SLOWER_SECONDS = 5.0
FAILURES_MAX = 4
"""So often in a row the issuer may be away while somebody is at their browser; the waits between double each time."""
WAIT_SECONDS_MAX = 1_800
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class IssuerAway(CommandFailed):
    """Nobody answers there, or somebody who cannot at the moment; asking again may help."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} {WHEN_UNREACHABLE}", Exit.UNREACHABLE)


@dataclass(frozen=True)
class AuthSettings:
    """What `GET /auth/settings` says; no issuer means that tokens are the only way in."""

    issuer: str | None
    client_id: str | None
    scopes: tuple[str, ...]
    audience: str | None = None

    @property
    def form(self) -> dict[str, str]:
        """What every request to the issuer carries.

        An audience that is an address is asked for as RFC 8707 says, any other as most issuers have it; where a scope
        names it already, as with Entra ID, asking twice would be refused.
        """
        form = {"client_id": self.client_id or ""}
        if self.audience and not any(scope.startswith(self.audience) for scope in self.scopes):
            form["resource" if "://" in self.audience else "audience"] = self.audience
        return form


@dataclass(frozen=True)
class Tokens:
    """What the issuer gave; `expires_at` is seconds since the epoch."""

    access: str
    refresh: str | None
    expires_at: float | None


def settings_of(url: str) -> AuthSettings:
    """How the server lets people in; an older one that does not say knows tokens only."""
    answer = _ask("GET", f"{url}/auth/settings")
    found = _json(answer) if answer.status_code == httpx.codes.OK else {}
    scopes = found.get("scopes") or ["openid"]
    return AuthSettings(found.get("issuer"), found.get("clientId"), tuple(map(str, scopes)), found.get("audience"))


def sign_in(settings: AuthSettings, show: Callable[[str, str], None]) -> Tokens:
    """Ask for a code, `show(address, code)` it to the person, and wait until they have used it."""
    assert settings.issuer is not None
    endpoints = _endpoints(settings.issuer)
    address = endpoints.get("device_authorization_endpoint")
    if not address:
        message = f"{settings.issuer} offers no device flow; sign in with a token: `guildhall login --token-stdin`."
        raise CommandFailed(message)
    asked = {**settings.form, "scope": " ".join(settings.scopes)}
    answer = _ask("POST", _safe(str(address)), asked)
    grant = _json(answer)
    if answer.status_code != httpx.codes.OK or not {"device_code", "user_code", "verification_uri"} <= grant.keys():
        raise CommandFailed(f"{settings.issuer} gave no code to sign in with: {_reason(grant, answer)}.")
    show(str(grant.get("verification_uri_complete") or grant["verification_uri"]), str(grant["user_code"]))
    return _wait_for_token(settings, endpoints, grant)


def renewal(issuer: str, client_id: str, refresh_token: str) -> Callable[[], Tokens]:
    """What gets another access token, once, and raises `NotSignedIn` where the issuer gives none.

    It is one request, after which the refresh token may be used up; all that can be asked before has been asked.
    """
    address = _safe(str(_endpoints(issuer)["token_endpoint"]))
    asked = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": refresh_token}

    def renew() -> Tokens:
        answer = _ask("POST", address, asked)
        granted = _json(answer)
        if answer.status_code != httpx.codes.OK or "access_token" not in granted:
            raise NotSignedIn(f"Your session has ended ({_reason(granted, answer)}).")
        return _tokens(granted)

    return renew


def revoke(issuer: str, client_id: str, *, access: str, refresh: str | None) -> bool:
    """End what the issuer gave (RFC 7009); False where it offers no way to. Raises `CommandFailed`."""
    address = _endpoints(issuer).get("revocation_endpoint")
    if not address:
        return False
    # The refresh token first: with it goes what it would bring.
    for kind, token in (("refresh_token", refresh), ("access_token", access)):
        if token:
            form = {"client_id": client_id, "token": token, "token_type_hint": kind}
            answer = _ask("POST", _safe(str(address)), form)
            said = _json(answer)
            # An access token that everybody proves by its signature is nothing that an issuer could take back.
            if answer.status_code != httpx.codes.OK and said.get("error") != "unsupported_token_type":
                raise CommandFailed(f"{issuer} did not end the session: {_reason(said, answer)}.")
    return True


def _wait_for_token(settings: AuthSettings, endpoints: dict[str, Any], grant: dict[str, Any]) -> Tokens:
    interval = _seconds(grant.get("interval")) or INTERVAL_SECONDS
    ends_at = time.monotonic() + min(_seconds(grant.get("expires_in")) or WAIT_SECONDS_MAX, WAIT_SECONDS_MAX)
    asked = {**settings.form, "grant_type": GRANT, "device_code": str(grant["device_code"])}
    address = _safe(str(endpoints["token_endpoint"]))
    failures = 0
    while (left := ends_at - time.monotonic()) > 0:
        time.sleep(min(interval * 2**failures, left))
        try:
            answer = _ask("POST", address, asked)
        except IssuerAway:
            failures += 1
            if failures == FAILURES_MAX:
                raise
            continue
        failures = 0
        granted = _json(answer)
        if answer.status_code == httpx.codes.OK and "access_token" in granted:
            return _tokens(granted)
        match granted.get("error"):
            case "authorization_pending":
                pass
            case "slow_down":
                interval += SLOWER_SECONDS
            case "access_denied":
                raise CommandFailed("The sign-in was refused at the issuer.", Exit.NOT_ALLOWED)
            case "expired_token":
                break
            case _:
                raise CommandFailed(f"The issuer gave no token: {_reason(granted, answer)}.", Exit.NOT_ALLOWED)
    raise CommandFailed("The code has ended before it was used; run `guildhall login` again.", Exit.NOT_ALLOWED)


def _endpoints(issuer: str) -> dict[str, Any]:
    answer = _ask("GET", f"{_safe(issuer).rstrip('/')}/.well-known/openid-configuration")
    found = _json(answer)
    if answer.status_code != httpx.codes.OK or "token_endpoint" not in found:
        raise CommandFailed(f"{issuer} does not answer as an OpenID provider does (status {answer.status_code}).")
    return found


def _safe(address: str) -> str:
    """The address, if what is sent there cannot be read on the way."""
    url = httpx.URL(address)
    if url.scheme == "https" or url.host in LOOPBACK:
        return address
    raise CommandFailed(f"{address} is not https, so nothing secret is sent there; tell whoever runs the server.")


def _ask(method: str, address: str, form: dict[str, str] | None = None) -> httpx.Response:
    place = httpx.URL(address).netloc.decode()
    try:
        answer = httpx.request(method, address, data=form, timeout=TIMEOUT_SECONDS)
    except httpx.TransportError as error:
        raise IssuerAway(f"{place} does not answer: {str(error) or type(error).__name__}.") from error
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
        raise IssuerAway(f"{place} cannot answer at the moment (status {answer.status_code}).")
    return answer


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _reason(said: dict[str, Any], answer: httpx.Response) -> str:
    return str(said.get("error_description") or said.get("error") or f"it answered {answer.status_code}").rstrip(".")


def _tokens(granted: dict[str, Any]) -> Tokens:
    lasts = _seconds(granted.get("expires_in"))
    refresh = granted.get("refresh_token")
    return Tokens(
        access=str(granted["access_token"]),
        refresh=str(refresh) if refresh else None,
        expires_at=time.time() + lasts if lasts else None,
    )


def _seconds(value: Any) -> float | None:  # noqa: ANN401 -- whatever an issuer may say
    """A time of more than none, also a part of a second; None for what is none."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < math.inf else None
