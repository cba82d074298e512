"""An OpenID issuer without a network, that can be made to lie, to turn its keys and to be away."""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

ISSUER = "https://issuer.test"
AUDIENCE = "https://guildhall.test"
BROWSER_CLIENT = "guildhall-browser"

AnyKey = RSAKey | ECKey | OKPKey | OctKey
ALL = list(jws.JWSRegistry.algorithms)

# Making a key of RSA takes long, so there are few.
FIRST = RSAKey.generate_key(2048, {"kid": "first", "alg": "RS256", "use": "sig"})
SECOND = RSAKey.generate_key(2048, {"kid": "second"})


class FakeIssuer:
    """`keys` are published, `calls` what was asked of it; `answers` replace what it would say at a path."""

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.keys: list[AnyKey] = [FIRST]
        self.calls: list[str] = []
        self.answers: dict[str, Any] = {}
        self.away = False
        self.forms: list[dict[str, str]] = []
        self.transport = httpx.MockTransport(self._answer)

    def claims(self, name: str = "ada", /, **changed: Any) -> dict[str, Any]:
        """Those of a good access token; a claim that is None is left out."""
        seconds = int(self.at.timestamp())
        good = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": f"sub-{name}", "iat": seconds, "exp": seconds + 300,
            "email": f"{name}@example.org", "email_verified": True, "name": name.capitalize(), "groups": [],
        }  # fmt: skip
        return {key: value for key, value in {**good, **changed}.items() if value is not None}

    def token(
        self, name: str = "ada", /, *, key: AnyKey = FIRST, header: Mapping[str, Any] | None = None, **changed: Any
    ) -> str:
        head = {"alg": "RS256", "kid": key.kid, "typ": "at+jwt", **(header or {})}
        return signed(self.claims(name, **changed), key, head)

    def identity_token(self, name: str = "ada", /, **changed: Any) -> str:
        return self.token(name, header={"typ": "JWT"}, **{"aud": BROWSER_CLIENT, **changed})

    def later(self, **duration: float) -> None:
        self.at += timedelta(**duration)

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token", "end_session_endpoint": f"{ISSUER}/end?from=us",
            "authorization_response_iss_parameter_supported": True,
        }  # fmt: skip

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.calls.append(path)
        if self.away:
            raise httpx.ConnectError("no route")
        if request.method == "POST":
            self.forms.append({name: value[0] for name, value in parse_qs(request.content.decode()).items()})
        if path in self.answers:
            given = self.answers[path]
            return given if isinstance(given, httpx.Response) else httpx.Response(200, json=given)
        if path == "/.well-known/openid-configuration":
            return httpx.Response(200, json=self.metadata())
        return httpx.Response(200, json={"keys": [key.as_dict(private=False) for key in self.keys]})


def signed(claims: Any, key: AnyKey, header: Mapping[str, Any]) -> str:
    text = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    registry = jws.JWSRegistry(algorithms=ALL, strict_check_header=False)
    return jws.serialize_compact(
        {name: value for name, value in header.items() if value is not None}, text, key, registry=registry
    )


def unsigned(claims: Mapping[str, Any], header: Any, signature: bytes = b"") -> str:
    """Made by hand, as an attacker does."""
    return ".".join(_part(part) for part in (json.dumps(header).encode(), json.dumps(claims).encode(), signature))


def with_secret(claims: Mapping[str, Any], secret: bytes) -> str:
    """Under HS256, with whatever the attacker takes for the secret."""
    head, body, _ = unsigned(claims, {"alg": "HS256", "kid": "first"}).split(".")
    return f"{head}.{body}.{_part(hmac.digest(secret, f'{head}.{body}'.encode(), 'sha256'))}"


def _part(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
