"""Deliveries: made of events after their commit, leased by who sends them, tried again for a day, then dead letters.

At least once, in no promised order. Nobody is asked to take more at once than `WEBHOOK_AT_ONCE_MAX`, by all workers
together, so that a slow or dead receiver keeps waiting only what is its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from operator import itemgetter
from uuid import UUID

from sqlalchemy import ColumnElement, and_, any_, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.among import among
from guildhall.db.leases import RETURNED, give_back, lease, unleased
from guildhall.db.transaction import WriteSession
from guildhall.errors import Conflict, NotFound
from guildhall.inbox.tables import Delivery, InboxEvent, InboxSettings, Notification, Webhook
from guildhall.inbox.webhook_secrets import CHANGE
from guildhall.inbox.webhooks import (
    READ,
    find_webhook,
    lock_webhook,
    require_readable,
    stop_sending,
    visible_webhooks,
)

ATTEMPTS_MAX = 12
PING = "PING"
BACKOFF_SECONDS_FIRST = 5
BACKOFF_FACTOR = 4
BACKOFF_SECONDS_MAX = 6 * 3_600
JITTER = 0.25
"""The share of a wait by which it may be longer, so that what failed together is not tried again together."""
REST_SECONDS_MAX = 24 * 3_600
"""How long a receiver may ask us to wait."""
WEBHOOK_AT_ONCE_MAX = 4
WEBHOOK_LEASE_SECONDS = 60
MAIL_LEASE_SECONDS = 300
"""Longer than an attempt may take; of mails, as many as are leased together, one after the other."""
MESSAGE_CHARACTERS_MAX = 500
SWEPT_MAX = 10_000
"""Deliveries that one sweep forgets; the others follow in the next."""


class DeliveryChannel(StrEnum):
    """By which way it leaves."""

    WEBHOOK = "WEBHOOK"
    MAIL = "MAIL"


class DeliveryState(StrEnum):
    """WAITING for its next attempt, DELIVERED, or DEAD: given up, and kept for a while to be seen and sent again."""

    WAITING = "WAITING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


class DeliveryWaits(Conflict):
    """Sending again what is still being tried."""

    code = "DELIVERY_WAITS"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one attempt; `reason` is a code and a sentence, None where it arrived.

    `hopeless`: another attempt would end the same. `rest_seconds`: the receiver wants none before. `gone`: it wants no
    others either.
    """

    status: int | None = None
    reason: tuple[str, str] | None = None
    hopeless: bool = False
    gone: bool = False
    rest_seconds: int | None = None


@dataclass(frozen=True)
class Leased:
    """A delivery on loan: whoever holds the token may say what came of the attempt."""

    id: UUID
    token: UUID
    attempts: int
    kind: str


def visible_deliveries(actor: Actor) -> ColumnElement[bool]:
    """Those of visible webhooks; mails for who may see the whole organisation's."""
    seen = Delivery.webhook_id.in_(select(Webhook.id).where(visible_webhooks(actor)))
    return or_(seen, Delivery.channel == DeliveryChannel.MAIL.value) if actor.may(READ, None) else seen


async def make_deliveries(
    session: WriteSession, event_ids: Sequence[UUID], *, with_mail: bool, at: datetime, new_id: IdSource
) -> int:
    """One for each webhook that is told of such an event, and one for each recipient who wants mail; how many.

    What is there already is left as it is. Whether there is mail at all is a setting.
    """
    matching = (
        select(InboxEvent.id, InboxEvent.kind, Webhook.id)
        .join(Webhook, InboxEvent.kind == any_(Webhook.kinds))
        .where(InboxEvent.id.in_(event_ids))
        .where(or_(Webhook.team_id.is_(None), Webhook.team_id == InboxEvent.team_id))
        .where(Webhook.created_at <= InboxEvent.occurred_at)
    )
    common = {"state": DeliveryState.WAITING.value, "attempts": 0, "due_at": at, "created_at": at}
    rows = [
        {"id": new_id(), "channel": DeliveryChannel.WEBHOOK.value, "event_id": event, "kind": kind,
         "webhook_id": webhook, "notification_id": None, **common}
        for event, kind, webhook in await session.execute(matching)
    ]  # fmt: skip
    if with_mail:
        wanted = (
            select(InboxEvent.id, InboxEvent.kind, Notification.id)
            .join(Notification, Notification.event_id == InboxEvent.id)
            .join(InboxSettings, InboxSettings.user_id == Notification.user_id)
            .where(InboxEvent.id.in_(event_ids), InboxSettings.mail == "ALL")
        )
        rows += [
            {"id": new_id(), "channel": DeliveryChannel.MAIL.value, "event_id": event, "kind": kind,
             "webhook_id": None, "notification_id": notification, **common}
            for event, kind, notification in await session.execute(wanted)
        ]  # fmt: skip
    if rows:
        await session.execute(insert(Delivery).on_conflict_do_nothing(), rows)
    return len(rows)


async def ping_webhook(
    session: WriteSession, actor: Actor, *, webhook_id: UUID, at: datetime, new_id: IdSource
) -> UUID:
    """A delivery that says nothing, tried once, also to a paused webhook; its id."""
    webhook = await find_webhook(session, actor, webhook_id)
    key = new_id()
    session.add(
        Delivery(
            id=key, channel=DeliveryChannel.WEBHOOK.value, webhook_id=webhook_id, kind=PING, attempts=0, due_at=at,
            state=DeliveryState.WAITING.value, created_at=at,
        )
    )  # fmt: skip
    await session.flush()
    resources = [ResourceRef("Webhook", webhook_id)]
    after = {"tested": True}
    await record(
        session, actor, action=CHANGE, resources=resources, team_id=webhook.team_id, after=after, at=at, new_id=new_id
    )
    return key


async def redeliver(session: WriteSession, actor: Actor, *, delivery_id: UUID, at: datetime, new_id: IdSource) -> None:
    """Try one that is dead, or arrived, all over again, under the same id. Raises NotFound, DeliveryWaits.

    The webhook's address may be another by now, so its event must be one that the caller could read; a mail goes to
    nobody but whom it was for.
    """
    found = select(Delivery).where(Delivery.id == delivery_id, visible_deliveries(actor))
    delivery = await session.scalar(found)
    if delivery is None:
        raise NotFound("There is no such delivery; they are kept for some time only.", field="deliveryId")
    team_id = None
    if delivery.webhook_id is not None:
        team_id = (await lock_webhook(session, actor, delivery.webhook_id)).team_id
        require_readable(actor, [delivery.kind], team_id=team_id)
    require(actor, CHANGE, team_id=team_id)
    again = (
        update(Delivery)
        .where(Delivery.id == delivery_id, Delivery.state != DeliveryState.WAITING.value)
        .values(state=DeliveryState.WAITING.value, attempts=0, due_at=at, ended_at=None)
        .returning(Delivery.id)
    )
    if await session.scalar(again) is None:
        raise DeliveryWaits("It is still being tried; nextAttemptAt says when.", field="deliveryId")
    resources = [ResourceRef("Delivery", delivery_id)]
    after = {"redelivered": True}
    await record(session, actor, action=CHANGE, resources=resources, team_id=team_id, after=after, at=at, new_id=new_id)


async def lease_for_webhooks(
    session: WriteSession, *, limit: int, first_only: int, owner: str, at: datetime, new_id: IdSource
) -> Sequence[Leased]:
    """Lease what is due to webhooks that are neither paused nor at rest, of each no more than it is to take at once.

    The webhooks are locked meanwhile, so that two workers never count the same room of one twice. Those with the least
    under way come first, and one by one; `first_only` of the `limit` are for webhooks with nothing under way, so that
    those who hang leave room for others.
    """
    theirs = and_(Delivery.channel == DeliveryChannel.WEBHOOK.value, Delivery.webhook_id == Webhook.id)
    under_way = (
        select(func.count())
        .where(theirs, Delivery.lease_expires_at > at, Delivery.state == DeliveryState.WAITING.value)
        .correlate(Webhook)
        .scalar_subquery()
    )
    ready = and_(theirs, _ready(at), or_(Webhook.paused_at.is_(None), Delivery.kind == PING))
    oldest = select(func.min(Delivery.due_at)).where(ready).correlate(Webhook).scalar_subquery()
    awake = or_(Webhook.rests_until.is_(None), Webhook.rests_until <= at)
    have_room = and_(awake, oldest.is_not(None), under_way < WEBHOOK_AT_ONCE_MAX)
    waiting = select(Webhook.id).where(have_room).order_by(under_way, oldest, Webhook.id).limit(limit)
    webhooks = (await session.scalars(waiting.with_for_update(key_share=True, skip_locked=True))).all()
    if not webhooks:
        return []
    next_ = (
        select(Delivery.id, Delivery.due_at)
        .where(ready)
        .order_by(Delivery.due_at, Delivery.id)
        .limit(WEBHOOK_AT_ONCE_MAX)
    )
    due = next_.correlate(Webhook).lateral()
    statement = (
        select(Webhook.id, under_way, due.c.id)
        .join(due, literal(True))
        .where(Webhook.id.in_(webhooks))
        .order_by(due.c.due_at, due.c.id)
    )
    found: list[tuple[int, UUID]] = []
    taken: dict[UUID, int] = {}
    for webhook, busy, delivery in await session.execute(statement):
        taken[webhook] = taken.get(webhook, busy) + 1
        if taken[webhook] <= WEBHOOK_AT_ONCE_MAX:
            found.append((taken[webhook], delivery))
    in_turn = sorted(found, key=itemgetter(0))
    first = [delivery for nth, delivery in in_turn if nth == 1][:limit]
    further = [delivery for nth, delivery in in_turn if nth > 1][: max(0, limit - first_only - len(first))]
    chosen = first + further
    until = at + timedelta(seconds=WEBHOOK_LEASE_SECONDS)
    return await _lease(session, chosen, owner=owner, until=until, at=at, new_id=new_id)


async def lease_mails(
    session: WriteSession, *, limit: int, owner: str, at: datetime, new_id: IdSource
) -> Sequence[Leased]:
    """Lease the mails that have been due for longest; those that a rival is taking are skipped."""
    statement = (
        select(Delivery.id)
        .where(_ready(at), Delivery.channel == DeliveryChannel.MAIL.value)
        .order_by(Delivery.due_at, Delivery.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    chosen = (await session.scalars(statement)).all()
    until = at + timedelta(seconds=MAIL_LEASE_SECONDS)
    return await _lease(session, chosen, owner=owner, until=until, at=at, new_id=new_id)


async def conclude(
    session: WriteSession,
    actor: Actor,
    leased: Leased,
    outcome: Outcome,
    *,
    at: datetime,
    new_id: IdSource,
    jitter: Callable[[], float],
) -> bool:
    """Say what came of the attempt. False: the lease was lost, so that somebody else says it.

    A receiver that is gone pauses its webhook; one that asked for rest gets it.
    """
    again = outcome.reason is not None and not outcome.hopeless and leased.attempts < ATTEMPTS_MAX
    again = again and leased.kind != PING
    values: dict[str, object] = {"status": outcome.status, "reason_code": None, "reason_message": None}
    if outcome.reason is not None:
        code, message = outcome.reason
        values |= {"reason_code": code, "reason_message": message[:MESSAGE_CHARACTERS_MAX]}
    if again:
        seconds = max(backoff_seconds(leased.attempts, jitter=jitter), min(outcome.rest_seconds or 0, REST_SECONDS_MAX))
        values["due_at"] = at + timedelta(seconds=seconds)
    else:
        state = DeliveryState.DELIVERED if outcome.reason is None else DeliveryState.DEAD
        values |= {"state": state.value, "ended_at": at}
    webhook_id = await session.scalar(select(Delivery.webhook_id).where(Delivery.id == leased.id))
    # The webhook before its delivery, as whoever deletes it or leases from it does.
    webhook = None
    if webhook_id is not None and (outcome.gone or outcome.rest_seconds is not None):
        locked = select(Webhook).where(Webhook.id == webhook_id).with_for_update(key_share=True)
        webhook = await session.scalar(locked.execution_options(populate_existing=True))
    returned = give_back(Delivery, [leased.id], leased.token, **values).returning(Delivery.id)
    if await session.scalar(returned) is None:
        return False
    if webhook is not None and outcome.gone and webhook.paused_at is None:
        message = "was paused because its receiver answered that it is gone (410)"
        await stop_sending(session, actor, webhook, code="GONE", message=message, at=at, new_id=new_id)
    elif webhook is not None and outcome.rest_seconds is not None:
        webhook.rests_until = at + timedelta(seconds=min(outcome.rest_seconds, REST_SECONDS_MAX))
        await session.flush()
    return True


async def sweep_deliveries(session: WriteSession, *, kept: timedelta, at: datetime) -> int:
    """Forget what ended so long ago, and give up what could not be sent for so long; how many."""
    long_ago = at - kept
    never_sent = or_(Delivery.due_at <= long_ago, Delivery.attempts >= ATTEMPTS_MAX)
    waited = select(Delivery.id).where(never_sent, _unleased(at)).limit(SWEPT_MAX)
    given_up = (
        update(Delivery)
        .where(Delivery.id.in_(waited), _unleased(at))
        .values(
            state=DeliveryState.DEAD.value, ended_at=at, reason_code="WAITED_TOO_LONG",
            reason_message="waited too long, or nobody lived to say what came of its attempts", **RETURNED,
        )
        .returning(Delivery.id)
    )  # fmt: skip
    dead = len((await session.scalars(given_up)).all())
    over = select(Delivery.id).where(Delivery.ended_at <= long_ago).limit(SWEPT_MAX)
    gone = await session.scalars(delete(Delivery).where(Delivery.id.in_(over)).returning(Delivery.id))
    return dead + len(gone.all())


def backoff_seconds(attempts: int, *, jitter: Callable[[], float]) -> float:
    """How long after its nth failure: five seconds, then four times as long each, six hours at most, and some more.

    Twelve attempts are spread over a day and a quarter. `jitter` answers from 0 to 1.
    """
    assert attempts >= 1, "only what was attempted has failed"
    seconds: int = min(BACKOFF_SECONDS_FIRST * BACKOFF_FACTOR ** min(attempts - 1, 16), BACKOFF_SECONDS_MAX)
    return seconds * (1 + JITTER * jitter())


def _ready(at: datetime) -> ColumnElement[bool]:
    return and_(_unleased(at), Delivery.due_at <= at, Delivery.attempts < ATTEMPTS_MAX)


def _unleased(at: datetime) -> ColumnElement[bool]:
    """Waiting, and in nobody's hands."""
    return and_(Delivery.state == DeliveryState.WAITING.value, unleased(Delivery, at))


async def _lease(
    session: WriteSession, ids: Sequence[UUID], *, owner: str, until: datetime, at: datetime, new_id: IdSource
) -> Sequence[Leased]:
    """Asked for again whether they are ready: whoever held an expired lease may have just said what came of it."""
    if not ids:
        return []
    token = new_id()
    which = and_(among(Delivery.id, ids), _ready(at))
    taken = lease(Delivery, which, owner=owner, token=token, until=until, at=at).values(attempts=Delivery.attempts + 1)
    statement = taken.returning(Delivery.id, Delivery.attempts, Delivery.kind)
    return [Leased(key, token, attempts, kind) for key, attempts, kind in await session.execute(statement)]
