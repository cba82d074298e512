"""The issuer of people's tokens: its metadata and its keys, asked for seldom and kept while it is away.

Keys are asked for again every `REFRESH_EVERY`, whether tokens come in or not, and when a token names one that is not
among them, but never more often than every `RETRY_EVERY`, whatever tokens come in. While the issuer is away the known
keys go on counting, for a stated time; a token that would need another key is neither believed nor refused: its bearer
may come again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from guildhall.auth.claims import (
    Claims,
    NotOfIssuer,
    PublicKey,
    Rules,
    Signed,
    access_claims,
    identity_claims,
    public_keys,
    signing_key,
    take_apart,
)
from guildhall.auth.networks import neighbourhood
from guildhall.errors import Unavailable
from guildhall.settings import Settings

REFRESH_EVERY = timedelta(minutes=10)
"""How long a key counts at most after the issuer has withdrawn it, while the issuer answers."""
RETRY_EVERY = timedelta(seconds=10)
ANSWER_SECONDS_MAX = 5.0
ANSWER_BYTES_MAX = 1 << 20
KEYS_MAX = 100
VOUCHED_PER_SECOND_MAX = 50
"""How many signatures are checked in a second for bearers who have to wait; each takes some 0.1 ms."""
DISCOVERY = "/.well-known/openid-configuration"

logger = logging.getLogger(__name__)


class IssuerUnavailable(Unavailable):
    """The issuer cannot be asked, or what it answers cannot be used; tokens of Guildhall itself go on working."""

    code = "ISSUER_UNAVAILABLE"


@dataclass(frozen=True)
class Metadata:
    """Where the issuer does what; empty where it does not."""

    jwks_uri: str
    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str
    names_itself: bool

    @classmethod
    def of(cls, document: Any, issuer: str) -> "Metadata":  # noqa: ANN401 -- any JSON
        """Raises IssuerUnavailable for another issuer's, and for addresses less guarded than the issuer's own."""
        if not isinstance(document, dict) or document.get("issuer") != issuer:
            raise IssuerUnavailable(f"What {issuer} says of itself is not of this issuer: check GUILDHALL_OIDC_ISSUER.")
        found = {}
        for name in ("jwks_uri", "authorization_endpoint", "token_endpoint", "end_session_endpoint"):
            address = document.get(name) or ""
            if not isinstance(address, str) or (address and urlsplit(address).scheme not in _schemes(issuer)):
                raise IssuerUnavailable(f"The issuer {issuer} names an address for {name} that is not taken.")
            found[name] = address
        named = document.get("authorization_response_iss_parameter_supported") is True
        return cls(**found, names_itself=named)


class Issuer:
    """One issuer, as one process knows it."""

    def __init__(
        self, rules: Rules, *, keys_kept: timedelta, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.rules = rules
        self._keys_kept = keys_kept
        self._transport = transport
        self._asking = asyncio.Lock()
        self._keys: dict[str | None, list[PublicKey]] = {}
        self.thumbprints: frozenset[str] = frozenset()
        """Of the keys that it publishes, as far as this process knows; none before it was asked."""
        self.followed: frozenset[str] | None = None
        """The keys for which this process has last ended the tokens of others."""
        self._metadata: Metadata | None = None
        self._known_at: datetime | None = None
        self._asked_at: datetime | None = None
        self._trouble: IssuerUnavailable | None = None
        self._vouching: tuple[datetime, Counter[str]] | None = None

    @classmethod
    def from_settings(cls, settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None) -> "Issuer | None":
        """The issuer that people sign in with, None where there is none."""
        if settings.oidc_issuer is None:
            return None
        rules = Rules(
            issuer=settings.oidc_issuer,
            audience=settings.oidc_audience,
            client_id=settings.oidc_client_id,
            groups_claim=settings.oidc_groups_claim,
            emails_verified=settings.oidc_emails_verified,
            skew=timedelta(seconds=settings.oidc_clock_skew_seconds),
        )
        return cls(rules, keys_kept=timedelta(seconds=settings.oidc_keys_seconds), transport=transport)

    async def access(self, text: str, *, at: datetime) -> Claims:
        """What an access token says; raises NotOfIssuer and IssuerUnavailable."""
        signed, key = await self._verified(text, at)
        return replace(access_claims(signed, self.rules, at=at), key=key.thumbprint())

    def vouches(self, text: str, *, address: str | None, at: datetime) -> bool:
        """Whether this is a token of the issuer for us by the keys that are known now; nobody is asked for others.

        No more than `VOUCHED_PER_SECOND_MAX` are looked at in a second, half of them for one address: of those beyond,
        nothing is said for them.
        """
        try:
            signed = take_apart(text)
            keys = self._keys_for(signed)
            if not keys or self._are_old(at) or not self._may_vouch(address, at):
                return False
            if signing_key(signed, keys) is None:
                return False
            access_claims(signed, self.rules, at=at)
        except NotOfIssuer:
            return False
        return True

    async def identity(self, text: str, *, nonce: str | None, at: datetime) -> Claims:
        """What an identity token for our own client says; raises NotOfIssuer and IssuerUnavailable."""
        signed, _ = await self._verified(text, at)
        return identity_claims(signed, self.rules, nonce=nonce, at=at)

    async def look_for_keys(self, *, at: datetime) -> None:
        """Read what the issuer publishes now; where it is away, what is known stays known."""
        await self._ask(at)

    async def metadata(self, *, at: datetime) -> Metadata:
        """Where the issuer does what; raises IssuerUnavailable."""
        if self._known_at is None or at - self._known_at >= REFRESH_EVERY:
            await self._ask(at)
        if self._metadata is None:
            raise self._away()
        return self._metadata

    async def post(self, address: str, form: Mapping[str, str], *, auth: tuple[str, str] | None) -> tuple[int, Any]:
        """The status and the JSON of an answer to a form; raises IssuerUnavailable."""
        return await self._fetch("POST", address, form=form, auth=auth)

    async def _verified(self, text: str, at: datetime) -> tuple[Signed, PublicKey]:
        signed = take_apart(text)
        known_at = self._known_at
        if known_at is None or (at - known_at >= REFRESH_EVERY and not self._asking.locked()):
            await self._ask(at)
        if signed.key_id not in self._keys and (signed.key_id is not None or len(self._keys) != 1):
            await self._ask(at)
        keys = self._keys_for(signed)
        if self._are_old(at):
            raise self._away()
        if not keys and self._trouble is not None:
            raise self._away()
        key = signing_key(signed, keys)
        if key is None:
            raise NotOfIssuer(f"The token is not signed by a key of {self.rules.issuer}.")
        return signed, key

    def _are_old(self, at: datetime) -> bool:
        """Whether the keys count no longer, or never did."""
        return self._known_at is None or at - self._known_at >= self._keys_kept

    def _may_vouch(self, address: str | None, at: datetime) -> bool:
        """Who brings forged tokens leaves the other half to others."""
        since, counts = self._vouching or (at, Counter())
        if not timedelta(0) <= at - since < timedelta(seconds=1):
            since, counts = at, Counter()
        self._vouching = since, counts
        near = neighbourhood(address)
        if counts.total() >= VOUCHED_PER_SECOND_MAX or counts[near] >= VOUCHED_PER_SECOND_MAX // 2:
            return False
        counts[near] += 1
        return True

    def _keys_for(self, signed: Signed) -> list[PublicKey]:
        """Those of the name; a token that names none may be of any, where there are few."""
        if signed.key_id is not None:
            return self._keys.get(signed.key_id, [])
        return [key for named in self._keys.values() for key in named][:3]

    async def _ask(self, at: datetime) -> None:
        """Read metadata and keys again, unless that was tried a moment ago; a failure is kept, not raised."""
        async with self._asking:
            if self._asked_at is not None and timedelta(0) <= at - self._asked_at < RETRY_EVERY:
                return
            self._asked_at = at
            try:
                _, document = await self._fetch("GET", self.rules.issuer.rstrip("/") + DISCOVERY)
                metadata = Metadata.of(document, self.rules.issuer)
                _, listed = await self._fetch("GET", metadata.jwks_uri)
                keys = self._usable(listed)
            except IssuerUnavailable as error:
                logger.warning("%s", error.message)
                self._trouble = error
                return
            self._metadata, self._keys, self._known_at, self._trouble = metadata, keys, at, None
            self.thumbprints = frozenset(key.thumbprint() for named in keys.values() for key in named)

    def _usable(self, listed: Any) -> dict[str | None, list[PublicKey]]:  # noqa: ANN401 -- any JSON
        keys = public_keys(listed, keys_max=KEYS_MAX)
        if not keys:
            raise IssuerUnavailable(f"The issuer {self.rules.issuer} publishes no key that can be used.")
        return keys

    async def _fetch(
        self,
        method: str,
        address: str,
        *,
        form: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
    ) -> tuple[int, Any]:
        if not address:
            raise IssuerUnavailable(f"The issuer {self.rules.issuer} names no address to ask at.")
        headers = {"accept": "application/json"}
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS_MAX),
                httpx.AsyncClient(transport=self._transport, timeout=ANSWER_SECONDS_MAX) as client,
                client.stream(method, address, data=form, auth=auth, headers=headers) as answer,
            ):
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_BYTES_MAX:
                        raise IssuerUnavailable(f"The issuer answers with more than {ANSWER_BYTES_MAX} bytes.")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise IssuerUnavailable(
                f"The issuer {self.rules.issuer} cannot be reached: {type(error).__name__}."
            ) from error
        if answer.status_code not in ({200, 400, 401} if method == "POST" else {200}):
            raise IssuerUnavailable(f"The issuer {self.rules.issuer} answers with {answer.status_code}.")
        try:
            return answer.status_code, msgspec.json.decode(bytes(body))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise IssuerUnavailable(
                f"The issuer {self.rules.issuer} answers with something that is not JSON."
            ) from error

    def _away(self) -> IssuerUnavailable:
        why = self._trouble.message if self._trouble is not None else "Its keys are too old."
        return IssuerUnavailable(
            f"Who you are cannot be checked now. {why} Come again in a moment; tokens of Guildhall itself still count."
        )


def _schemes(issuer: str) -> frozenset[str]:
    """A guarded issuer sends nobody to an unguarded address."""
    return frozenset({"https"}) if urlsplit(issuer).scheme == "https" else frozenset({"https", "http"})
