"""What an issuer's token says of its bearer: its signature by a key of the issuer, then each claim by its strict type.

Only signatures with a private key are taken, and only under the key's own algorithm: a token can name neither `none`,
nor have a public key used as a shared secret, nor bring a key along. Claims are compared here and not by the library,
whose matching of lists once let a list pass as an issuer; see decision 0032.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from guildhall.auth.tokens import TokenRefused

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
"""A header's `typ` of access and identity tokens; tokens made for something else (a logout, an event) say so there."""
TOKEN_CHARACTERS_MAX = 16_384
TEXT_CHARACTERS_MAX = 255
GROUPS_MAX = 1_000
MODULUS_CHARACTERS_MIN = 342
"""Of a key of RSA, in base64url: 2,048 bits; shorter ones are too weak."""
SECONDS_MAX = 100_000_000_000

PublicKey = RSAKey | ECKey | OKPKey

_registry = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)


@dataclass(frozen=True)
class Rules:
    """What this installation expects of its issuer's tokens."""

    issuer: str
    audience: str
    client_id: str | None
    groups_claim: str
    emails_verified: bool
    skew: timedelta


@dataclass(frozen=True)
class Signed:
    """A token taken apart, nothing of it believed yet."""

    parts: jws.CompactSignature
    algorithm: str
    key_id: str | None


@dataclass(frozen=True)
class Claims:
    """What the issuer says of a person. `email` is empty unless the issuer vouches for it.

    `key` is the thumbprint (RFC 7638) of the key that signed an access token.
    """

    issuer: str
    subject: str
    email: str | None
    name: str | None
    groups: frozenset[str]
    issued_at: datetime
    expires_at: datetime
    key: str | None = None


class NotOfIssuer(TokenRefused):
    """A token that the issuer did not make, not for us, or not for now."""


def take_apart(text: str) -> Signed:
    """The parts of a compact JWS under an algorithm that we take; raises NotOfIssuer."""
    if len(text) > TOKEN_CHARACTERS_MAX:
        raise NotOfIssuer(f"A token has {TOKEN_CHARACTERS_MAX} characters at most; this one has {len(text)}.")
    try:
        parts = jws.extract_compact(text.encode("ascii"), None, _registry)
    except (JoseError, ValueError, RecursionError) as error:
        raise NotOfIssuer("This is not a token: its three parts cannot be read. Copy it whole.") from error
    header: Any = parts.protected
    if not isinstance(header, dict):
        raise NotOfIssuer("This is not a token: its header is no JSON object.")
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise NotOfIssuer(f"The token's signature is of a kind that is not taken; these are: {', '.join(ALGORITHMS)}.")
    if not isinstance(kind, str) or kind.lower() not in TYPES or "crit" in header or "b64" in header:
        raise NotOfIssuer("The token's header says that it is for something else than signing in.")
    if key_id is not None and not isinstance(key_id, str):
        raise NotOfIssuer("The token's header names its key by something that is not a text.")
    return Signed(parts, algorithm, key_id)


def public_keys(document: Any, *, keys_max: int) -> dict[str | None, list[PublicKey]]:  # noqa: ANN401 -- any JSON
    """The keys of a JWKS document that can verify a signature, by name; others (to encrypt, secret) are left out."""
    listed = document.get("keys") if isinstance(document, dict) else None
    found: dict[str | None, list[PublicKey]] = {}
    for entry in listed[:keys_max] if isinstance(listed, list) else []:
        key = _public_key(entry)
        if key is not None:
            name = entry.get("kid")
            found.setdefault(name if isinstance(name, str) else None, []).append(key)
    return found


def signing_key(signed: Signed, keys: Sequence[PublicKey]) -> PublicKey | None:
    """Which of the keys, under the algorithm that the token names, has signed it; None: none of them."""
    for key in keys:
        if key.get("alg") in {None, signed.algorithm}:
            try:
                if jws.validate_compact(signed.parts, key, ALGORITHMS, _registry):
                    return key
            except (JoseError, ValueError):  # a key of another kind than the algorithm's
                continue
    return None


def access_claims(signed: Signed, rules: Rules, *, at: datetime) -> Claims:
    """What a verified access token says; raises NotOfIssuer where it is for others, for another time or another use."""
    values = _values(signed)
    if rules.audience not in _audiences(values):
        raise NotOfIssuer(f"The token is not for Guildhall: its `aud` must hold {rules.audience!r}.")
    if "nonce" in values or "at_hash" in values or values.get("typ", "Bearer") != "Bearer":
        raise NotOfIssuer("This is an identity token, which proves a sign-in to one program; send an access token.")
    if "cnf" in values:
        raise NotOfIssuer("The token is bound to a key of its holder, so it cannot be sent as a bearer token.")
    return _claims(values, rules, at)


def identity_claims(signed: Signed, rules: Rules, *, nonce: str | None, at: datetime) -> Claims:
    """What a verified identity token says to our own client; `nonce` is the sign-in's, None for a renewed one."""
    values = _values(signed)
    audiences = _audiences(values)
    party = values.get("azp", rules.client_id)
    if rules.client_id is None or rules.client_id not in audiences or party != rules.client_id:
        raise NotOfIssuer("The issuer's identity token is for another client.")
    if nonce is not None and values.get("nonce") != nonce:
        raise NotOfIssuer("The issuer's identity token belongs to another sign-in.")
    return _claims(values, rules, at)


def _public_key(entry: Any) -> PublicKey | None:  # noqa: ANN401 -- any JSON
    if (
        not isinstance(entry, dict)
        or entry.get("use", "sig") != "sig"
        or "verify" not in entry.get("key_ops", ["verify"])
    ):
        return None
    public = {name: value for name, value in entry.items() if name not in {"d", "p", "q", "dp", "dq", "qi", "oth"}}
    try:
        match entry.get("kty"):
            case "RSA":
                return RSAKey.import_key(public) if len(public["n"]) >= MODULUS_CHARACTERS_MIN else None
            case "EC":
                return ECKey.import_key(public)
            case "OKP":
                return OKPKey.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return None


def _values(signed: Signed) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(signed.parts.payload, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotOfIssuer("The token's claims are not a JSON object.") from error


def _audiences(values: Mapping[str, Any]) -> list[Any]:
    audience = values.get("aud")
    return audience if isinstance(audience, list) else [audience]


def _claims(values: Mapping[str, Any], rules: Rules, at: datetime) -> Claims:
    if values.get("iss") != rules.issuer:
        raise NotOfIssuer(f"The token is not of the issuer {rules.issuer}.")
    issued_at, expires_at = _moment(values, "iat"), _moment(values, "exp")
    begins_at = _moment(values, "nbf") if "nbf" in values else issued_at
    if at >= expires_at + rules.skew:
        raise NotOfIssuer("This token has expired; sign in again.")
    if max(begins_at, issued_at) > at + rules.skew:
        raise NotOfIssuer("This token does not count yet: the issuer's clock and ours differ by more than is allowed.")
    email = values.get("email")
    vouched = values.get("email_verified", rules.emails_verified) is True
    return Claims(
        issuer=rules.issuer,
        subject=_text(values.get("sub"), "sub"),
        email=_address(email) if email is not None and vouched else None,
        name=_text(values["name"], "name").strip() or None if values.get("name") is not None else None,
        groups=_groups(values, rules.groups_claim),
        issued_at=issued_at,
        expires_at=expires_at,
    )


def _moment(values: Mapping[str, Any], name: str) -> datetime:
    seconds = values.get(name)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < SECONDS_MAX:
        raise NotOfIssuer(f"The token's `{name}` must be there, as a moment.")
    return datetime.fromtimestamp(seconds, UTC)


def _text(value: Any, name: str) -> str:  # noqa: ANN401 -- any JSON
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARACTERS_MAX or "\0" in value:
        raise NotOfIssuer(f"The token's `{name}` must be a text of 1 to {TEXT_CHARACTERS_MAX} characters.")
    return value


def _address(value: Any) -> str:  # noqa: ANN401 -- any JSON
    """In lower case; a letter that only then is one of ASCII (the Kelvin sign) would make it somebody else's."""
    text = _text(value, "email")
    if any(letter.lower().isascii() and not letter.isascii() for letter in text):
        raise NotOfIssuer("The token's `email` has a letter that reads as another one in lower case.")
    return text.lower()


def _groups(values: Mapping[str, Any], claim: str) -> frozenset[str]:
    """The groups by the claim's whole name, else by its path (`realm_access.roles`); none where it is left out."""
    elsewhere = values.get("_claim_names")
    if isinstance(elsewhere, dict) and claim in elsewhere:
        raise NotOfIssuer(
            f"The issuer left the claim {claim!r} out of the token because there are too many groups: "
            "let it name only those that Guildhall maps."
        )
    found: Any = values
    for name in [claim] if claim in values else claim.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        return frozenset()
    groups = [found] if isinstance(found, str) else found
    if not isinstance(groups, list) or len(groups) > GROUPS_MAX:
        raise NotOfIssuer(f"The token's claim {claim!r} must be a list of at most {GROUPS_MAX} groups.")
    return frozenset(_text(group, claim) for group in groups)
