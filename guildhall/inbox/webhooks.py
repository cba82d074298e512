"""Webhooks: registered for a team by who maintains it, for the whole organisation by an administrator.

Nobody is sent by a webhook what they could not read themselves: whoever says which events it is told of must be
allowed to read those in the team.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require, team_rows
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, Invalid, InvalidInput, NotFound, Problem
from guildhall.inbox.kinds import NEEDED, EventKind
from guildhall.inbox.tables import Delivery, Webhook
from guildhall.inbox.webhook_addresses import check_url
from guildhall.inbox.webhook_secrets import CHANGE, put_secret
from guildhall.keys import Keyring

READ = "guildhall:webhook:read"
WEBHOOKS_MAX = 20
"""Of one team, and as many for the whole organisation."""
LABEL_CHARACTERS_MAX = 200
REGISTERING = (0x6775696C, 2)
"""The lock of who counts webhooks before adding one."""
OVERLAP_SECONDS_MAX = 7 * 24 * 3_600


class TooManyWebhooks(Conflict):
    """As many as a team may have."""

    code = "TOO_MANY_WEBHOOKS"


class InvalidOverlap(Invalid):
    """Two secrets side by side for longer than they may be."""

    code = "INVALID_OVERLAP"


@dataclass(frozen=True)
class RegisteredWebhook:
    """A new webhook's id, and the one time that its secret can be read."""

    id: UUID
    secret: str


@dataclass(frozen=True, kw_only=True)
class WebhookSpec:
    """What people say of a webhook; its URL is looked up by `require_allowed` before."""

    label: str
    url: str
    kinds: Collection[EventKind]


def visible_webhooks(actor: Actor) -> ColumnElement[bool]:
    """Those of teams where the caller may read them; without a team, for who may organisation-wide."""
    rows = team_rows(actor, team_column=Webhook.team_id, permission=READ)
    organisations_own = Webhook.team_id.is_(None)
    return or_(rows, organisations_own) if actor.may(READ, None) else and_(rows, ~organisations_own)


def check_registration(actor: Actor, spec: WebhookSpec, *, team_id: UUID | None) -> None:
    """What can be refused before the address is looked at; nobody without the permission makes us look anywhere."""
    require(actor, CHANGE, team_id=team_id, resource=None if team_id is None else ResourceRef("Team", team_id))
    _check(actor, spec, team_id=team_id)


async def register_webhook(
    session: WriteSession,
    actor: Actor,
    spec: WebhookSpec,
    *,
    team_id: UUID | None,
    keyring: Keyring,
    at: datetime,
    new_id: IdSource,
) -> RegisteredWebhook:
    """A webhook for the team, or without one for the organisation. Raises what `check_registration` does."""
    check_registration(actor, spec, team_id=team_id)
    await session.execute(select(func.pg_advisory_xact_lock(*REGISTERING)))
    place = Webhook.team_id.is_(None) if team_id is None else Webhook.team_id == team_id
    if (await session.scalar(select(func.count()).select_from(Webhook).where(place)) or 0) >= WEBHOOKS_MAX:
        raise TooManyWebhooks(f"There are {WEBHOOKS_MAX} webhooks here already: delete one that is not needed.")
    key = new_id()
    kinds = _names(spec.kinds)
    row = {"id": key, "team_id": team_id, "label": spec.label, "url": spec.url, "kinds": kinds, "created_at": at}
    await session.execute(insert(Webhook).values(row))
    secret = await put_secret(session, key, overlap=timedelta(), keyring=keyring, at=at, new_id=new_id)
    after = _recorded(spec.label, spec.url, kinds)
    await _record(session, actor, key, team_id, after=after, at=at, new_id=new_id)
    return RegisteredWebhook(key, secret)


async def update_webhook(
    session: WriteSession, actor: Actor, spec: WebhookSpec, *, webhook_id: UUID, at: datetime, new_id: IdSource
) -> None:
    """Another label, address or other events from now on; the secret stays, and what waits goes to the new address.

    So whoever says the address must be allowed to read what it was told of until now, and what waits, as well.
    """
    webhook = await lock_webhook(session, actor, webhook_id)
    _check(actor, spec, team_id=webhook.team_id)
    waiting = select(Delivery.kind).where(Delivery.webhook_id == webhook_id, Delivery.ended_at.is_(None)).distinct()
    require_readable(actor, {*webhook.kinds, *await session.scalars(waiting)}, team_id=webhook.team_id)
    before = _recorded(webhook.label, webhook.url, webhook.kinds)
    webhook.label, webhook.url, webhook.kinds = spec.label, spec.url, _names(spec.kinds)
    await session.flush()
    after = _recorded(webhook.label, webhook.url, webhook.kinds)
    await _record(session, actor, webhook_id, webhook.team_id, before=before, after=after, at=at, new_id=new_id)


async def rotate_secret(
    session: WriteSession,
    actor: Actor,
    *,
    webhook_id: UUID,
    overlap_seconds: int,
    keyring: Keyring,
    at: datetime,
    new_id: IdSource,
) -> str:
    """A fresh secret; until the overlap is over each message carries a signature by the one before it as well."""
    webhook = await lock_webhook(session, actor, webhook_id)
    if not 0 <= overlap_seconds <= OVERLAP_SECONDS_MAX:
        raise InvalidOverlap(f"Two secrets overlap for 0 to {OVERLAP_SECONDS_MAX} seconds.", field="overlapSeconds")
    overlap = timedelta(seconds=overlap_seconds)
    secret = await put_secret(session, webhook_id, overlap=overlap, keyring=keyring, at=at, new_id=new_id)
    after = {"secret_rotated": True, "overlap_seconds": overlap_seconds}
    await _record(session, actor, webhook_id, webhook.team_id, after=after, at=at, new_id=new_id)
    return secret


async def pause_webhook(
    session: WriteSession, actor: Actor, *, webhook_id: UUID, at: datetime, new_id: IdSource
) -> None:
    """Send nothing for now; what comes up waits. One that is paused stays as it is."""
    webhook = await lock_webhook(session, actor, webhook_id)
    if webhook.paused_at is None:
        await stop_sending(session, actor, webhook, code="PAUSED", message="was paused", at=at, new_id=new_id)


async def stop_sending(
    session: WriteSession, actor: Actor, webhook: Webhook, *, code: str, message: str, at: datetime, new_id: IdSource
) -> None:
    """Pause the locked webhook for this reason."""
    webhook.paused_at, webhook.pause_code, webhook.pause_message = at, code, message
    await session.flush()
    after = {"paused": code}
    await _record(session, actor, webhook.id, webhook.team_id, after=after, at=at, new_id=new_id)


async def resume_webhook(
    session: WriteSession, actor: Actor, *, webhook_id: UUID, at: datetime, new_id: IdSource
) -> None:
    """Send what waits, and what comes up from now on; also where the receiver asked for rest."""
    webhook = await lock_webhook(session, actor, webhook_id)
    if webhook.paused_at is None and webhook.rests_until is None:
        return
    before = {"paused": webhook.pause_code}
    webhook.paused_at = webhook.pause_code = webhook.pause_message = webhook.rests_until = None
    await session.flush()
    after = {"paused": None}
    await _record(session, actor, webhook_id, webhook.team_id, before=before, after=after, at=at, new_id=new_id)


async def delete_webhook(
    session: WriteSession, actor: Actor, *, webhook_id: UUID, at: datetime, new_id: IdSource
) -> None:
    """Forget it, its secrets and its deliveries; what is under way may still arrive."""
    webhook = await lock_webhook(session, actor, webhook_id)
    before = _recorded(webhook.label, webhook.url, webhook.kinds)
    await session.execute(delete(Webhook).where(Webhook.id == webhook_id))
    await _record(session, actor, webhook_id, webhook.team_id, before=before, at=at, new_id=new_id)


async def find_webhook(session: ReadSession, actor: Actor, webhook_id: UUID) -> Webhook:
    """A webhook that the caller may change. Raises NotFound before PermissionRefused."""
    webhook = await session.scalar(select(Webhook).where(Webhook.id == webhook_id, visible_webhooks(actor)))
    if webhook is None:
        raise NotFound("There is no such webhook.", field="webhookId")
    require(actor, CHANGE, team_id=webhook.team_id, resource=ResourceRef("Webhook", webhook_id))
    return webhook


async def lock_webhook(session: WriteSession, actor: Actor, webhook_id: UUID) -> Webhook:
    """As `find_webhook`, and locked."""
    await find_webhook(session, actor, webhook_id)
    rows = await lock_rows(session, Webhook, [webhook_id])
    if not rows:  # deleted meanwhile
        raise NotFound("There is no such webhook.", field="webhookId")
    return rows[0]


def require_readable(actor: Actor, kinds: Collection[str], *, team_id: UUID | None) -> None:
    """Raises PermissionRefused unless the caller may read, in the team, of all these; a ping says nothing."""
    for permission in sorted({NEEDED[kind] for kind in EventKind if kind.value in kinds}):
        require(actor, permission, team_id=team_id)


def _check(actor: Actor, spec: WebhookSpec, *, team_id: UUID | None) -> None:
    """Raises InvalidInput, InvalidWebhookUrl, and PermissionRefused for events that the caller could not read."""
    problems = []
    if not spec.label.strip() or len(spec.label) > LABEL_CHARACTERS_MAX or not spec.label.isprintable():
        message = f"Say in 1 to {LABEL_CHARACTERS_MAX} characters what it is for."
        problems.append(Problem("INVALID_INPUT", message, "label"))
    if not spec.kinds:
        message = f"Name at least one kind of event: {', '.join(EventKind)}."
        problems.append(Problem("INVALID_INPUT", message, "kinds"))
    if problems:
        raise InvalidInput(problems)
    check_url(spec.url)
    require_readable(actor, spec.kinds, team_id=team_id)


def _names(kinds: Collection[EventKind]) -> list[str]:
    return [kind.value for kind in EventKind if kind in kinds]


def _recorded(label: str, url: str, kinds: Collection[str]) -> dict[str, Any]:
    """What the audit record says of it: the receiver's host alone, because paths hold secrets of other services."""
    host, port = check_url(url)
    return {"label": label, "receiver": f"{host}:{port}", "kinds": list(kinds)}


async def _record(
    session: WriteSession,
    actor: Actor,
    webhook_id: UUID,
    team_id: UUID | None,
    *,
    at: datetime,
    new_id: IdSource,
    **changed: Mapping[str, Any],
) -> None:
    resources = [ResourceRef("Webhook", webhook_id)]
    await record(
        session, actor, action=CHANGE, resources=resources, team_id=team_id, before=changed.get("before"),
        after=changed.get("after"), at=at, new_id=new_id,
    )  # fmt: skip
