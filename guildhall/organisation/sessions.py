"""Browsers' sessions: opened by a sign-in at the issuer, kept fresh by asking it again, ended by either side."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor, RequestContext
from guildhall.auth.claims import NotOfIssuer
from guildhall.auth.code_flow import Grant
from guildhall.auth.issuer import IssuerUnavailable
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import Session, Token
from guildhall.auth.tokens import SHOWN_CHARACTERS, TokenOrigin, hash_token, make_session_token
from guildhall.clock import IdSource
from guildhall.db.announcing import announce_change
from guildhall.keys import Encrypted, Keyring
from guildhall.organisation.identities import issuer_actor, known_person, sign_out_before
from guildhall.organisation.tokens import ISSUE, REVOKE, TOPIC

REFRESH_LEASE = timedelta(seconds=30)
"""How long one request may take to ask the issuer; others go on meanwhile with what is known."""
AWAY_TOO_LONG = "The issuer has been away for too long to go on without asking it who you are; come again in a moment."
KEPT_AFTER_END = timedelta(days=30)


@dataclass(frozen=True)
class Lasting:
    """How long sessions last: at most, lying idle, and while the issuer that should be asked again is away."""

    at_most: timedelta
    idle: timedelta
    outage: timedelta


@dataclass(frozen=True)
class Due:
    """A session whose issuer is to be asked again, by whoever holds the lease."""

    id: UUID
    user_id: UUID
    refresh_token: str
    fresh_until: datetime


async def open_session(
    session: AsyncSession,
    grant: Grant,
    *,
    keyring: Keyring,
    lasting: Lasting,
    request: RequestContext,
    at: datetime,
    new_id: IdSource,
) -> str:
    """A session of whom the grant is about; returns the cookie's text, the one time that it can be read.

    Raises NotOfIssuer. Somebody who was deactivated gets a session that opens nothing.
    """
    person = await known_person(session, grant.claims, request=request, at=at, new_id=new_id)
    await _sweep(session, person.user_id, at)
    key, text = new_id(), make_session_token()
    ends_at = at + lasting.at_most
    label = f"browser at {request.address or 'an unknown address'}"
    row = {
        "id": key,
        "subject_kind": ActorKind.USER.value,
        "subject_id": person.user_id,
        "prefix": text[:SHOWN_CHARACTERS],
        "hash": hash_token(text),
        "label": label,
        "claims": {},
        "origin": TokenOrigin.BROWSER.value,
        "created_at": at,
        "expires_at": min(at + lasting.idle, ends_at, grant.fresh_until),
    }
    await session.execute(insert(Token).values(row))
    about = {
        "id": key,
        "user_id": person.user_id,
        "issuer": grant.claims.issuer,
        "address": request.address,
        "client": request.client,
        "created_at": at,
        "ends_at": ends_at,
        "idle_seconds": int(lasting.idle.total_seconds()),
        "fresh_until": grant.fresh_until,
    }
    await session.execute(insert(Session).values({**about, **_encrypted(grant, key, keyring)}))
    await record(
        session,
        issuer_actor(request, person.user_id),
        action=ISSUE,
        resources=[ResourceRef("Token", key), ResourceRef("User", person.user_id)],
        after={"label": label, "ends_at": ends_at},
        at=at,
        new_id=new_id,
    )
    return text


async def take_due(
    session: AsyncSession, digest: bytes, *, keyring: Keyring, lasting: Lasting, at: datetime
) -> Due | None:
    """The session whose issuer must be asked again, leased to the caller; None where it is over.

    While another request holds the lease, or asked in vain a moment ago, the session is let on for that long; raises
    IssuerUnavailable where that has gone on for longer than sessions do.
    """
    statement = (
        select(Session, Token)
        .join(Token, Token.id == Session.id)
        .where(Token.hash == digest, Token.revoked_at.is_(None))
        .with_for_update(of=Session, key_share=True)
        .execution_options(populate_existing=True)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        return None
    held, token = row[0], row[1]
    idle_since = token.last_used_at or held.created_at
    if at >= held.ends_at or at >= idle_since + timedelta(seconds=held.idle_seconds):
        return None
    kept = _kept(held)
    if at < held.fresh_until or kept is None:
        return None
    if held.refreshing_until is not None and at < held.refreshing_until:
        until = min(held.refreshing_until, held.fresh_until + lasting.outage)
        if until <= at:
            raise IssuerUnavailable(AWAY_TOO_LONG)
        await _let_on(session, held, at=at, until=until)
        return None
    held.refreshing_until = at + REFRESH_LEASE
    await session.flush()
    return Due(held.id, held.user_id, keyring.decrypt(kept, about=held.id.bytes), held.fresh_until)


async def keep_fresh(
    session: AsyncSession,
    due: Due,
    grant: Grant,
    *,
    keyring: Keyring,
    request: RequestContext,
    at: datetime,
    new_id: IdSource,
) -> None:
    """The issuer has spoken: the person's groups are what it says now, and the session goes on. Raises NotOfIssuer."""
    person = await known_person(session, grant.claims, request=request, at=at, new_id=new_id)
    if person.user_id != due.user_id:
        raise NotOfIssuer("The issuer renewed the sign-in of somebody else.")
    values = {"fresh_until": grant.fresh_until, "refreshing_until": None, **_encrypted(grant, due.id, keyring)}
    await session.execute(update(Session).where(Session.id == due.id).values(values))
    held = await session.get_one(Session, due.id, populate_existing=True)
    await _let_on(session, held, at=at, until=grant.fresh_until)


async def let_on_while_away(session: AsyncSession, due: Due, *, lasting: Lasting, at: datetime) -> bool:
    """The issuer is away: the session goes on until it is asked again; False once the stated time for that is over."""
    until = min(at + REFRESH_LEASE, due.fresh_until + lasting.outage)
    if until <= at:
        return False
    await _let_on(session, await session.get_one(Session, due.id), at=at, until=until)
    return True


async def sign_out_everywhere(
    session: AsyncSession, actor: Actor, user_id: UUID, *, at: datetime, new_id: IdSource
) -> int:
    """End all that signing in gave a person: sessions, and the issuer's tokens until now, also those never seen.

    Returns how many ended that were known. Tokens that Guildhall made are ended one by one.
    """
    await sign_out_before(session, user_id, at=at)
    counting = [
        Token.user_id == user_id,
        Token.origin != TokenOrigin.GUILDHALL.value,
        Token.revoked_at.is_(None),
        Token.expires_at > at,
    ]
    ended = (await session.scalars(update(Token).where(*counting).values(revoked_at=at).returning(Token.id))).all()
    for key in ended:
        announce_change(session, TOPIC, key)
    resources = [ResourceRef("User", user_id), *(ResourceRef("Token", key) for key in sorted(ended))]
    await record(session, actor, action=REVOKE, resources=resources, at=at, new_id=new_id)
    return len(ended)


async def _let_on(session: AsyncSession, held: Session, *, at: datetime, until: datetime) -> None:
    ends_at = min(until, held.ends_at, at + timedelta(seconds=held.idle_seconds))
    await session.execute(update(Token).where(Token.id == held.id).values(expires_at=ends_at))


async def _sweep(session: AsyncSession, user_id: UUID, at: datetime) -> None:
    """What ended long ago is in the audit record; the list of sessions need not have it for ever."""
    long_ago = at - KEPT_AFTER_END
    over = select(Session.id).where(Session.user_id == user_id, Session.ends_at <= long_ago)
    await session.execute(delete(Token).where(Token.id.in_(over)))


def _kept(held: Session) -> Encrypted | None:
    if held.refresh_key is None or held.refresh_nonce is None or held.refresh_token is None:
        return None
    return Encrypted(held.refresh_key, held.refresh_nonce, held.refresh_token)


def _encrypted(grant: Grant, session_id: UUID, keyring: Keyring) -> dict[str, object]:
    if grant.refresh_token is None:
        return {"refresh_key": None, "refresh_nonce": None, "refresh_token": None}
    kept = keyring.encrypt(grant.refresh_token, about=session_id.bytes)
    return {"refresh_key": kept.key_name, "refresh_nonce": kept.nonce, "refresh_token": kept.ciphertext}
