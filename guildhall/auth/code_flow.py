"""Signing in with a browser: the code flow of OpenID Connect with PKCE, as a client of the issuer.

What a sign-in needs until the browser is back (state, nonce, the proof of the code) travels in a cookie that only this
installation can read and make, so that no replica has to remember it.
"""

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from guildhall.auth.claims import Claims
from guildhall.auth.issuer import Issuer, IssuerUnavailable
from guildhall.errors import Unauthenticated

SIGN_IN_MINUTES_MAX = 10
FRESH_SECONDS_MIN, FRESH_SECONDS_MAX = 60, 3_600
"""What a session may rest on one answer of the issuer, whatever time that gives its access token."""
PATH_CHARACTERS_MAX = 2_000
_NONCE_BYTES = 12


class SignInFailed(Unauthenticated):
    """A sign-in that did not come to its end; the person may begin again."""

    code = "SIGN_IN_FAILED"


class GrantEnded(Unauthenticated):
    """The issuer gives no new tokens for an earlier sign-in: it was withdrawn there, or its time is over."""

    code = "SIGN_IN_ENDED"


class SignIn(msgspec.Struct, frozen=True):
    """One sign-in on its way; `next_path` is where the browser goes afterwards."""

    state: str
    nonce: str
    verifier: str
    next_path: str
    began_at: datetime


@dataclass(frozen=True)
class Grant:
    """What the issuer says of who signed in, until when it need not be asked again, and what to ask it with."""

    claims: Claims
    fresh_until: datetime
    refresh_token: str | None


@dataclass(frozen=True)
class BrowserClient:
    """We, as the issuer knows us."""

    issuer: Issuer
    client_id: str
    client_secret: str | None
    redirect_uri: str
    scopes: tuple[str, ...]
    key: bytes

    async def begin(
        self, next_path: str, *, at: datetime, random: Callable[[int], str] = secrets.token_urlsafe
    ) -> tuple[str, str]:
        """Where the browser is sent, and what it keeps until it is back; raises IssuerUnavailable."""
        metadata = await self.issuer.metadata(at=at)
        if not metadata.authorization_endpoint:
            raise IssuerUnavailable("The issuer names no address to sign in at with a browser.")
        sign_in = SignIn(random(32), random(32), random(48), _own_path(next_path), at)
        challenge = urlsafe_b64encode(hashlib.sha256(sign_in.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": " ".join(self.scopes),
            "state": sign_in.state,
            "nonce": sign_in.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return _with_query(metadata.authorization_endpoint, asked), self._seal(sign_in)

    def resumed(self, sealed: str | None, answer: Mapping[str, str], *, at: datetime) -> SignIn:
        """The sign-in that this browser began and the issuer answers; raises SignInFailed."""
        sign_in = None if sealed is None else self._open(sealed)
        if sign_in is None or not timedelta(0) <= at - sign_in.began_at < timedelta(minutes=SIGN_IN_MINUTES_MAX):
            raise SignInFailed(
                f"This browser began no sign-in within the last {SIGN_IN_MINUTES_MAX} minutes: begin again."
            )
        if not secrets.compare_digest(answer.get("state", "").encode(), sign_in.state.encode()):
            raise SignInFailed("The issuer's answer belongs to another sign-in: begin again.")
        if answer.get("error") or not answer.get("code"):
            raise SignInFailed(f"The issuer refused the sign-in: {answer.get('error', 'no code')[:100]}.")
        return sign_in

    async def finish(self, sign_in: SignIn, answer: Mapping[str, str], *, at: datetime) -> Grant:
        """What the issuer gives for the code; raises SignInFailed, NotOfIssuer, IssuerUnavailable."""
        metadata = await self.issuer.metadata(at=at)
        if answer.get("iss", "" if metadata.names_itself else self.issuer.rules.issuer) != self.issuer.rules.issuer:
            raise SignInFailed("The answer to the sign-in is of another issuer: begin again.")
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": self.redirect_uri,
            "code_verifier": sign_in.verifier,
        }
        status, given = await self._ask(form, at)
        if status != 200:
            raise SignInFailed(f"The issuer does not take the code: {_error(given)}. Begin again.")
        return await self._grant(given, nonce=sign_in.nonce, at=at)

    async def renew(self, refresh_token: str, *, at: datetime) -> Grant:
        """What the issuer says now of who signed in earlier; raises GrantEnded, NotOfIssuer, IssuerUnavailable."""
        status, given = await self._ask({"grant_type": "refresh_token", "refresh_token": refresh_token}, at)
        if status != 200:
            raise GrantEnded(f"The issuer ended this sign-in: {_error(given)}. Sign in again.")
        return await self._grant({"refresh_token": refresh_token, **given}, nonce=None, at=at)

    async def farewell(self, public_url: str, *, at: datetime) -> str:
        """Where the issuer ends its own session and sends the browser back from; `/` where it has no such place."""
        metadata = await self.issuer.metadata(at=at)
        if not metadata.end_session_endpoint:
            return "/"
        asked = {"client_id": self.client_id, "post_logout_redirect_uri": f"{public_url}/"}
        return _with_query(metadata.end_session_endpoint, asked)

    async def _ask(self, form: dict[str, str], at: datetime) -> tuple[int, Any]:
        metadata = await self.issuer.metadata(at=at)
        secret = self.client_secret
        auth = None if secret is None else (self.client_id, secret)
        named = form if secret is not None else {**form, "client_id": self.client_id}
        status, given = await self.issuer.post(metadata.token_endpoint, named, auth=auth)
        if not isinstance(given, dict):
            raise IssuerUnavailable("The issuer answers with something that is no JSON object.")
        return status, given

    async def _grant(self, given: Mapping[str, Any], *, nonce: str | None, at: datetime) -> Grant:
        text, lasts, refresh = given.get("id_token"), given.get("expires_in"), given.get("refresh_token")
        if not isinstance(text, str):
            raise GrantEnded("The issuer does not say again who signed in: it sent no identity token. Sign in again.")
        claims = await self.issuer.identity(text, nonce=nonce, at=at)
        seconds = lasts if isinstance(lasts, int) else FRESH_SECONDS_MIN
        fresh = timedelta(seconds=min(max(seconds, FRESH_SECONDS_MIN), FRESH_SECONDS_MAX))
        return Grant(claims, at + fresh, refresh if isinstance(refresh, str) else None)

    def _seal(self, sign_in: SignIn) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._seal_key()).encrypt(nonce, msgspec.json.encode(sign_in), b"sign-in")
        return urlsafe_b64encode(nonce + sealed).decode()

    def _open(self, sealed: str) -> SignIn | None:
        try:
            raw = urlsafe_b64decode(sealed.encode("ascii"))
            opened = AESGCM(self._seal_key()).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], b"sign-in")
            return msgspec.json.decode(opened, type=SignIn)
        except (ValueError, InvalidTag, msgspec.MsgspecError):
            return None

    def _seal_key(self) -> bytes:
        """A key of its own, so that nothing else that the secret key signs can be taken for a sign-in."""
        return hashlib.sha256(b"guildhall sign-in " + self.key).digest()


def _with_query(address: str, asked: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"


def _own_path(path: str) -> str:
    """A path on this site; anything else, which could lead elsewhere, is the front page."""
    plain = path.isascii() and path.isprintable() and "\\" not in path and len(path) <= PATH_CHARACTERS_MAX
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"


def _error(given: Mapping[str, Any]) -> str:
    return str(given.get("error", "it does not say why"))[:100]
