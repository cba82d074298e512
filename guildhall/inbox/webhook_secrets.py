"""The secrets of webhooks at rest: encrypted under a key that the database does not have, each as its row's alone."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession
from guildhall.inbox.tables import WebhookSecret
from guildhall.inbox.webhook_signing import make_secret
from guildhall.keys import Encrypted, KeyMissing, Keyring

CHANGE = "guildhall:webhook:change"


async def put_secret(
    session: AsyncSession,
    webhook_id: UUID,
    *,
    overlap: timedelta,
    keyring: Keyring,
    at: datetime,
    new_id: IdSource,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> str:
    """A fresh secret, the one time that its text can be read; the one before it counts until the overlap is over.

    Of those that are older still none counts any longer.
    """
    await session.execute(
        delete(WebhookSecret).where(WebhookSecret.webhook_id == webhook_id, WebhookSecret.expires_at.is_not(None))
    )
    newest = (WebhookSecret.webhook_id == webhook_id, WebhookSecret.expires_at.is_(None))
    await session.execute(update(WebhookSecret).where(*newest).values(expires_at=at + overlap))
    key, secret = new_id(), make_secret(random)
    kept = keyring.encrypt(secret, about=key.bytes, random=random)
    session.add(WebhookSecret(id=key, webhook_id=webhook_id, created_at=at, expires_at=None, **_columns(kept)))
    await session.flush()
    return secret


async def read_secrets(
    session: ReadSession, webhook_ids: Sequence[UUID], *, keyring: Keyring, at: datetime
) -> Mapping[UUID, Sequence[str] | KeyMissing]:
    """The secrets of these webhooks that are valid now, the newest first; or why those of one cannot be read."""
    statement = (
        select(WebhookSecret)
        .where(WebhookSecret.webhook_id.in_(webhook_ids))
        .where(or_(WebhookSecret.expires_at.is_(None), WebhookSecret.expires_at > at))
        .order_by(WebhookSecret.created_at.desc(), WebhookSecret.id.desc())
    )
    found: dict[UUID, list[str]] = {}
    unreadable: dict[UUID, KeyMissing] = {}
    for row in await session.scalars(statement):
        try:
            found.setdefault(row.webhook_id, []).append(_read(row, keyring))
        except KeyMissing as error:
            unreadable[row.webhook_id] = error
    return {**found, **unreadable}


async def encrypt_secrets_anew(
    session: AsyncSession, actor: Actor, *, keyring: Keyring, at: datetime, new_id: IdSource
) -> list[UUID]:
    """Put what is under another key under the current one; returns the webhooks. Receivers notice nothing."""
    statement = (
        select(WebhookSecret)
        .where(WebhookSecret.key_name != keyring.current)
        .order_by(WebhookSecret.webhook_id, WebhookSecret.id)
        .with_for_update()
    )
    rows = (await session.scalars(statement)).all()
    for row in rows:
        for name, value in _columns(keyring.encrypt(_read(row, keyring), about=row.id.bytes)).items():
            setattr(row, name, value)
    await session.flush()
    changed = list(dict.fromkeys(row.webhook_id for row in rows))
    if changed:
        resources = [ResourceRef("Webhook", webhook_id) for webhook_id in changed]
        after = {"credentials_key": keyring.current}
        await record(session, actor, action=CHANGE, resources=resources, after=after, at=at, new_id=new_id)
    return changed


def _read(row: WebhookSecret, keyring: Keyring) -> str:
    return keyring.decrypt(Encrypted(row.key_name, row.nonce, row.ciphertext), about=row.id.bytes)


def _columns(encrypted: Encrypted) -> dict[str, object]:
    return {"key_name": encrypted.key_name, "nonce": encrypted.nonce, "ciphertext": encrypted.ciphertext}
