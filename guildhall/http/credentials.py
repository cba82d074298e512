"""What a request shows to say who asks: the bearer token of its Authorization header, else a browser's session cookie.

A browser sends cookies by itself, also when a page of somebody else makes it. So a cookie counts only where the browser
says that the request is of a page of ours, or was typed in; it carries `SameSite=Lax` besides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec
from litestar.datastructures import Cookie
from litestar.types import HTTPScope, WebSocketScope

from guildhall.auth.tokens import hash_token
from guildhall.errors import Unauthenticated
from guildhall.http.headers import headers_of
from guildhall.setting_values import is_loopback

COOKIE = "guildhall"
SIGN_IN_COOKIE = "guildhall-sign-in"
COOKIES_CHARACTERS_MAX = 16_384
_PORTS = {"http": 80, "https": 443}


class InvalidAuthorization(Unauthenticated):
    """An Authorization header that is no bearer token."""


class CrossSite(Unauthenticated):
    """A session's cookie, or the beginning of one, with a request that a page of ours did not make."""

    code = "CROSS_SITE"


class Credential(msgspec.Struct, frozen=True):
    """The text of a token, and whether a browser sent it as its session's cookie."""

    text: str
    of_browser: bool = False

    @property
    def digest(self) -> bytes:
        """By what it is known."""
        return hash_token(self.text)


@dataclass(frozen=True)
class Cookies:
    """Our cookies at this address: bound to it alone where it is guarded, plain on this machine."""

    public_url: str

    def name(self, plain: str) -> str:
        """With the prefix that a browser keeps others from setting."""
        return plain if self._is_local else f"__Host-{plain}"

    def made(self, plain: str, value: str, *, seconds: int) -> Cookie:
        """Have the browser keep it for so long; none at all is to forget it."""
        return Cookie(
            key=self.name(plain), value=value, max_age=seconds, secure=not self._is_local, httponly=True, samesite="lax"
        )

    def read(self, headers: Mapping[bytes, bytes], plain: str) -> str | None:
        """The cookie's value as the request brings it."""
        sent = headers.get(b"cookie", b"").decode("latin-1")
        if self.name(plain) not in sent or len(sent) > COOKIES_CHARACTERS_MAX:
            return None
        for part in sent.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.name(plain):
                return value
        return None

    @property
    def _is_local(self) -> bool:
        parts = urlsplit(self.public_url)
        return parts.scheme == "http" and is_loopback(parts.hostname or "")


def credential_of(scope: HTTPScope | WebSocketScope, public_url: str) -> Credential | None:
    """What the request shows, None where it shows nothing; raises InvalidAuthorization and CrossSite."""
    headers = headers_of(scope)
    authorization = headers.get(b"authorization")
    if authorization is not None:
        return Credential(bearer(authorization.decode("latin-1")))
    if b"cookie" not in headers:
        return None
    session = Cookies(public_url).read(headers, COOKIE)
    if session is None:
        return None
    require_own_page(scope, public_url)
    return Credential(session, of_browser=True)


def bearer(header: str) -> str:
    """The token of an Authorization header; raises InvalidAuthorization."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise InvalidAuthorization("The Authorization header must be `Bearer` and a token.")
    return text.strip()


def require_own_page(scope: HTTPScope | WebSocketScope, public_url: str) -> None:
    """Return where the browser says that the request is of a page of ours, or typed in; raises CrossSite."""
    headers = headers_of(scope)
    origin = headers.get(b"origin")
    if origin is not None:
        own = is_own_origin(origin.decode("latin-1"), scope, public_url)
    else:
        own = headers.get(b"sec-fetch-site") in {b"same-origin", b"none"}
    if not own:
        raise CrossSite(
            "A browser's session counts only for requests of our own pages (`Origin`, `Sec-Fetch-Site`); "
            "programs send a token as `Authorization: Bearer …`."
        )


def require_page_of_its_own(scope: HTTPScope | WebSocketScope) -> None:
    """Return unless another site's page loads this as a part of itself, such as a picture; raises CrossSite."""
    headers = headers_of(scope)
    if headers.get(b"sec-fetch-site") == b"cross-site" and headers.get(b"sec-fetch-dest") != b"document":
        raise CrossSite("Signing in begins in a page of its own, not as a part of another site's.")


def is_own_origin(origin: str, scope: HTTPScope | WebSocketScope, public_url: str) -> bool:
    """Whether a page of that origin (its scheme, host and port) came from our own address, public or as it was called.

    A page of plain HTTP, or of another port, is somebody else's: whoever sits in between could have written it.
    """
    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    host = headers_of(scope).get(b"host", b"").decode("latin-1")
    asked = _origin(origin)
    return asked is not None and asked in {_origin(f"{scheme}://{host}"), _origin(public_url)}


def _origin(address: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an address, None for one that has none of them, as `null`."""
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return None if not parts.hostname or port is None else (parts.scheme, parts.hostname, port)
