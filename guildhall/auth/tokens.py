"""Tokens: secrets of one shape that stand for a user (`ghu_`), a service account (`ghs_`) or a job (`ghj_`).

A browser's session has one too (`ghb_`), which counts as a cookie alone; and a token of the issuer, once verified, is
known by its hash like any other, so that one statement proves all of them, and ending one ends it everywhere.

After the prefix come 32 random letters and digits and a checksum of 6, so that a typing mistake, or a search for leaked
secrets, needs no query. The database keeps the SHA-256 hash alone. A slow hash would add nothing: it makes guessing
costly where people choose the secret, and nobody guesses one of 2^190 drawn by chance; it would only slow each request.
"""

import hashlib
import hmac
import logging
import secrets
import string
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, LargeBinary, any_, case, func, literal, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import Actor, JobClaims, RequestContext, TokenUse
from guildhall.auth.narrowing import narrowed
from guildhall.auth.networks import is_inside
from guildhall.auth.policies import Policies
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import PolicyState, ServiceAccount, Session, Token, User
from guildhall.db.transaction import Database, ReadSession
from guildhall.errors import Unauthenticated, Unavailable

PREFIXES = {ActorKind.USER: "ghu_", ActorKind.SERVICE_ACCOUNT: "ghs_", ActorKind.JOB: "ghj_"}
RANDOM_CHARACTERS = 32
CHECKSUM_CHARACTERS = 6
SHOWN_CHARACTERS = 12
"""How much of a token its owner sees in lists: the prefix and 8 of the random letters; 142 bits stay secret."""

LAST_USED_EVERY = timedelta(minutes=1)
SESSION_PREFIX = "ghb_"

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LENGTH = 4 + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS

logger = logging.getLogger(__name__)


class TokenRefused(Unauthenticated):
    """The token does not count. Why is told only to those who hold one that once did."""

    code = "TOKEN_REFUSED"


class TokenMalformed(TokenRefused):
    """A text of no shape that a token has."""


class TokenUnknown(TokenRefused):
    """No token of this text was made or verified here."""


class TokenExpired(TokenRefused):
    """It counted until a moment ago; a session's may count again once the issuer was asked."""


class TokenOrigin(StrEnum):
    """Where a token comes from: made here, verified as the issuer's, or given to a browser as its session."""

    GUILDHALL = "GUILDHALL"
    ISSUER = "ISSUER"
    BROWSER = "BROWSER"


@dataclass(frozen=True)
class _Found:
    """A token, with what the same statement says of its holder."""

    token: Token
    name: str | None
    team_id: UUID | None
    deactivated: bool
    policy_version: int


async def authenticate(
    database: Database, policies: Policies, text: str, *, at: datetime, request: RequestContext
) -> Actor:
    """The caller whose token this is, under the policy in force now; raises TokenRefused. One statement, no write."""
    if not is_well_formed(text):
        raise TokenMalformed("This is not a token of Guildhall, or a part of it is missing: copy it whole.")
    return await authenticate_by_hash(database, policies, hash_token(text), at=at, request=request)


async def authenticate_by_hash(
    database: Database, policies: Policies, digest: bytes, *, at: datetime, request: RequestContext
) -> Actor:
    """As `authenticate`, for what has another shape: an issuer's token, a session's cookie. Raises TokenUnknown."""
    async with database.read() as session:
        found = await _find(session, Token.hash == digest)
    token = found.token
    _require_standing(found)
    if token.expires_at is not None and token.expires_at <= at:
        raise TokenExpired("This token has expired; ask for a new one.")
    if token.networks is not None and not is_inside(request.address, token.networks):
        raise TokenRefused("This token does not count from your network.")
    return await _actor_of(found, policies, request, at)


async def identify_again(database: Database, policies: Policies, actor: Actor, *, at: datetime) -> Actor:
    """The caller of a request that is under way, as they are now; the same object where nothing was said anew.

    That the token has expired meanwhile is no matter: it counted when the request came. Raises TokenRefused where it
    was withdrawn, or its holder is no longer active.
    """
    assert actor.token is not None, "who calls has shown a token"
    async with database.read() as session:
        found = await _find(session, Token.id == actor.token.id)
    _require_standing(found)
    if found.policy_version == actor.policy.version and actor.policy.covers(at):
        return actor
    return await _actor_of(found, policies, actor.request, at)


async def known_digests(session: ReadSession, digests: Collection[bytes]) -> frozenset[bytes]:
    """Those of these that are hashes of tokens which nobody has withdrawn. One statement, however many they are."""
    asked = any_(literal(list(digests), ARRAY(LargeBinary)))
    statement = select(Token.hash).where(Token.hash == asked, Token.revoked_at.is_(None))
    return frozenset((await session.scalars(statement)).all())


async def _actor_of(found: _Found, policies: Policies, request: RequestContext, at: datetime) -> Actor:
    token = found.token
    policy = await policies.at_version(found.policy_version, at=at)
    if token.roles is not None:
        policy = narrowed(policy, Subject(ActorKind(token.subject_kind), token.subject_id), token.roles)
    claims = _claims(token) if token.subject_kind == ActorKind.JOB else None
    return Actor(
        kind=ActorKind(token.subject_kind),
        id=token.subject_id,
        name=found.name or f"job {token.subject_id}",
        policy=policy,
        request=request,
        on_behalf_of=None if claims is None else claims.submitted_by,
        team_id=found.team_id if claims is None else claims.team_id,
        job=claims,
        token=TokenUse(
            id=token.id,
            last_used_at=token.last_used_at,
            expires_at=token.expires_at,
            roles=None if token.roles is None else tuple(token.roles),
            networks=None if token.networks is None else tuple(token.networks),
            emergency_id=token.emergency_id,
        ),
    )


async def note_use(database: Database, actor: Actor, *, at: datetime) -> None:
    """Keep when the token was last used, to the minute, in a transaction of its own; never fails the request."""
    use = actor.token
    if use is None or (use.last_used_at is not None and use.last_used_at > at - LAST_USED_EVERY):
        return
    stale = or_(Token.last_used_at.is_(None), Token.last_used_at <= at - LAST_USED_EVERY)
    try:
        async with database.transaction() as session:
            values = {"last_used_at": at, "expires_at": _expiry_after_use(at)}
            await session.execute(update(Token).where(Token.id == use.id, stale).values(values))
    except (Unavailable, SQLAlchemyError) as error:
        logger.warning("The use of token %s could not be noted: %s", use.id, error)


def make_token(kind: ActorKind, choose: Callable[[str], str] = secrets.choice) -> str:
    """A fresh token of that kind; `choose` draws one letter of an alphabet, by chance outside tests."""
    return _make(PREFIXES[kind], choose)


def make_session_token(choose: Callable[[str], str] = secrets.choice) -> str:
    """A fresh token for a browser's session."""
    return _make(SESSION_PREFIX, choose)


def _make(prefix: str, choose: Callable[[str], str]) -> str:
    body = prefix + "".join(choose(_ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return body + _checksum(body)


def hash_token(text: str) -> bytes:
    """What the database keeps of a token."""
    return hashlib.sha256(text.encode()).digest()


def is_well_formed(text: str) -> bool:
    """Whether this could be a token: its prefix, its length, its letters and its checksum."""
    return text[:4] in PREFIXES.values() and _is_whole(text)


def may_be_known(text: str) -> bool:
    """Whether a look-up could find it: a token or session of Guildhall, or of the shape that an issuer's have."""
    return is_well_formed(text) or is_session_token(text) or is_issuers(text)


def is_issuers(text: str) -> bool:
    """Whether this could be a token of the issuer: three parts with dots between them."""
    return text.count(".") == 2


def is_session_token(text: str) -> bool:
    """Whether this could be the token of a browser's session."""
    return text[:4] == SESSION_PREFIX and _is_whole(text)


def _is_whole(text: str) -> bool:
    body, checksum = text[:-CHECKSUM_CHARACTERS], text[-CHECKSUM_CHARACTERS:]
    return len(text) == _LENGTH and text.isascii() and hmac.compare_digest(checksum, _checksum(body))


def _expiry_after_use(at: datetime) -> ColumnElement[datetime | None]:
    """A session's token lives on for as long as it may lie idle, never past what else ends it; others stay."""
    slid = (
        select(
            func.least(
                at + func.make_interval(0, 0, 0, 0, 0, 0, Session.idle_seconds), Session.ends_at, Session.fresh_until
            )
        )
        .where(Session.id == Token.id)
        .scalar_subquery()
    )
    return case((Token.origin == TokenOrigin.BROWSER.value, slid), else_=Token.expires_at)


async def _find(session: AsyncSession, which: ColumnElement[bool]) -> _Found:
    statement = (
        select(Token, User, ServiceAccount, PolicyState.version)
        .select_from(Token)
        .join(PolicyState, PolicyState.id == 1)
        .outerjoin(User, User.id == Token.user_id)
        .outerjoin(ServiceAccount, ServiceAccount.id == Token.service_account_id)
        .where(which)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise TokenUnknown("This token is not known here.")
    token: Token = row[0]
    user: User | None = row[1]
    service_account: ServiceAccount | None = row[2]
    holder = user if service_account is None else service_account
    return _Found(
        token=token,
        name=None if holder is None else holder.name,
        team_id=None if service_account is None else service_account.team_id,
        deactivated=holder is not None and holder.deactivated_at is not None,
        policy_version=row[3],
    )


def _require_standing(found: _Found) -> None:
    if found.token.revoked_at is not None:  # whatever the clock says now: it may have been set back since
        raise TokenRefused("This token was withdrawn; ask for a new one.")
    if found.deactivated:
        raise TokenRefused("The account that this token belongs to is no longer active.")


def _claims(token: Token) -> JobClaims:
    claims: dict[str, Any] = token.claims
    return JobClaims(
        job_id=token.subject_id,
        attempt_id=UUID(claims["attempt_id"]),
        team_id=UUID(claims["team_id"]),
        submitted_by=UUID(claims["submitted_by"]),
    )


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    letters = ""
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        letters = _ALPHABET[digit] + letters
    return letters
