"""The worker's part that lets messages leave the house: events become deliveries, and what is due is sent.

No transaction is open while a receiver is waited for. What is leased is sent at once, each on its own; the next round
does not wait for it, so that a receiver that does not answer keeps nobody else waiting.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from uuid import UUID

import aiohttp
from sqlalchemy import select

from guildhall.auth.actor import system_actor
from guildhall.auth.tables import Team, User
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database, ReadSession
from guildhall.inbox.deliveries import (
    PING,
    DeliveryChannel,
    Leased,
    Outcome,
    conclude,
    lease_for_webhooks,
    lease_mails,
    make_deliveries,
)
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.mail_messages import compose_mail
from guildhall.inbox.mail_preferences import MailWanted
from guildhall.inbox.mail_sending import MailConnection, MailServer, mail_server
from guildhall.inbox.tables import Delivery, InboxEvent, InboxSettings, Notification, Webhook
from guildhall.inbox.telling import TOPIC
from guildhall.inbox.webhook_messages import event_body, ping_body
from guildhall.inbox.webhook_posting import opened_client, post
from guildhall.inbox.webhook_secrets import read_secrets
from guildhall.inbox.webhook_signing import signed_headers
from guildhall.inbox.wording import worded
from guildhall.keys import KeyMissing, Keyring, load_keyring
from guildhall.outbox.outbox import CLAIM_ROWS_MAX, claim, complete_all
from guildhall.settings import Settings

LOOKS_EVERY_SECONDS = 2.0
AT_ONCE_MAX = 64
"""Messages to webhooks that one worker has under way; half of them only for webhooks with nothing else under way."""
MAILS_MAX = 10
"""Mails that go one after the other over one connection; shorter than a lease lasts, were each to take its time."""
EVENT_LEASE_SECONDS = 60

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Post:
    """A message to a webhook, read before it is sent, and what it is signed with, or why it cannot be."""

    leased: Leased
    url: str
    message_id: str
    body: bytes
    secrets: Sequence[str] | KeyMissing


class Dispatcher:
    """One worker's. `reach` is called with "sent" between sending and recording; what it raises ends that there."""

    def __init__(
        self,
        *,
        database: Database,
        settings: Settings,
        clock: Clock,
        new_id: IdSource,
        owner: str,
        client: aiohttp.ClientSession,
        jitter: Callable[[], float] = random.random,
        reach: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._new_id = new_id
        self._owner = owner
        self._client = client
        self._jitter = jitter
        self._reach = reach
        self._server: MailServer | None = mail_server(settings)
        self._actor = system_actor("dispatcher")
        self._posting: set[asyncio.Task[None]] = set()
        self._mailing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Round after round until cancelled. One that fails, as while the database restarts, is logged."""
        while True:
            begun = 0
            try:
                begun = await self.begin_round()
            except Exception:
                logger.exception("Sending what is to leave the house failed; it will be tried again.")
            if not begun:
                await asyncio.sleep(LOOKS_EVERY_SECONDS)
            elif len(self._posting) >= AT_ONCE_MAX:
                await asyncio.wait(self._posting, return_when=asyncio.FIRST_COMPLETED)

    async def begin_round(self) -> int:
        """Make deliveries of new events, and begin to send what is due, as far as there is room; how many of both."""
        made = await self._make_deliveries()
        mails = 0
        if self._server is not None and (self._mailing is None or self._mailing.done()):
            leased = await self._lease_mails()
            mails = len(leased)
            if leased:
                self._mailing = asyncio.create_task(self._mail(self._server, leased), name="mails")
        posts = await self._lease_posts(AT_ONCE_MAX - len(self._posting))
        for each in posts:
            task = asyncio.create_task(self._post(each), name=f"delivery {each.leased.id}")
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)
        return made + len(posts) + mails

    async def close(self) -> None:
        """Drop what is under way, as the end of the process would: it is sent again when its lease is over."""
        tasks = [*self._posting, *([self._mailing] if self._mailing is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make_deliveries(self) -> int:
        """From the outbox, in the transaction that is done with the row; how many events were taken."""
        claims = await claim(
            self._database, [TOPIC], owner=self._owner, clock=self._clock, lease_seconds=EVENT_LEASE_SECONDS,
            limit=CLAIM_ROWS_MAX, new_id=self._new_id,
        )  # fmt: skip
        if not claims:
            return 0
        at = self._clock.now()
        async with self._database.transaction() as session:
            ours = await complete_all(session, claims, at=at)
            events = [UUID(each.payload["id"]) for each in claims if each.id in ours]
            await make_deliveries(session, events, with_mail=self._server is not None, at=at, new_id=self._new_id)
        return len(claims)

    async def _lease_posts(self, room: int) -> Sequence[_Post]:
        if room <= 0:
            return []
        keyring = load_keyring(self._settings.credentials_key_file)  # before anything is leased for an attempt
        at = self._clock.now()
        async with self._database.transaction() as session:
            leased = await lease_for_webhooks(
                session, limit=room, first_only=AT_ONCE_MAX // 2, owner=self._owner, at=at, new_id=self._new_id
            )
        if not leased:
            return []
        async with self._database.read() as session:
            return await self._read_posts(session, leased, keyring, at)

    async def _read_posts(
        self, session: ReadSession, leased: Sequence[Leased], keyring: Keyring, at: datetime
    ) -> Sequence[_Post]:
        """What is gone meanwhile, with its webhook, is left out: nobody waits for it."""
        statement = (
            select(Delivery, Webhook, InboxEvent, Team.name)
            .join(Webhook, Webhook.id == Delivery.webhook_id)
            .outerjoin(InboxEvent, InboxEvent.id == Delivery.event_id)
            .outerjoin(Team, Team.id == InboxEvent.team_id)
            .where(Delivery.id.in_([each.id for each in leased]))
        )
        rows = (await session.execute(statement)).all()
        secrets = await read_secrets(session, [webhook.id for _, webhook, _, _ in rows], keyring=keyring, at=at)
        by_id = {each.id: each for each in leased}
        posts = []
        for delivery, webhook, event, team in (row for row in rows if row[1].id in secrets):
            if delivery.kind == PING:
                body = ping_body(webhook.id, label=webhook.label, created_at=delivery.created_at)
            else:
                body = event_body(event, team=team)
            message_id = str(delivery.event_id or delivery.id)
            posts.append(_Post(by_id[delivery.id], webhook.url, message_id, body, secrets[webhook.id]))
        return posts

    async def _post(self, message: _Post) -> None:
        try:
            await self._conclude(message.leased, await self._send(message))
        except Exception:
            logger.exception("The delivery %s was not concluded; it follows again.", message.leased.id)

    async def _send(self, message: _Post) -> Outcome:
        if isinstance(message.secrets, KeyMissing):
            return Outcome(reason=(message.secrets.code, message.secrets.message))
        at = self._clock.now()
        headers = signed_headers(message.body, message_id=message.message_id, at=at, secrets_valid=message.secrets)
        return await post(self._client, message.url, message.body, headers=headers, at=at)

    async def _lease_mails(self) -> Sequence[Leased]:
        at = self._clock.now()
        async with self._database.transaction() as session:
            return await lease_mails(session, limit=MAILS_MAX, owner=self._owner, at=at, new_id=self._new_id)

    async def _mail(self, server: MailServer, leased: Sequence[Leased]) -> None:
        try:
            async with MailConnection(server) as connection:
                for each in leased:
                    async with self._database.read() as session:
                        message = await self._read_mail(session, each)
                    outcome = message if isinstance(message, Outcome) else await connection.send(message)
                    await self._conclude(each, outcome)
        except Exception:
            logger.exception("Mails were not concluded; they follow again.")

    async def _read_mail(self, session: ReadSession, leased: Leased) -> EmailMessage | Outcome:
        """The mail; or why there is none any more, asked in the last moment."""
        statement = (
            select(Delivery.created_at, InboxEvent, User, InboxSettings.mail)
            .join(Notification, Notification.id == Delivery.notification_id)
            .join(InboxEvent, InboxEvent.id == Notification.event_id)
            .join(User, User.id == Notification.user_id)
            .outerjoin(InboxSettings, InboxSettings.user_id == User.id)
            .where(Delivery.id == leased.id, Delivery.channel == DeliveryChannel.MAIL.value)
        )
        row = (await session.execute(statement)).one_or_none()
        if row is None:
            return Outcome(reason=("FORGOTTEN", "the notification is gone"), hopeless=True)
        created_at, event, user, wanted = row
        if user.deactivated_at is not None or wanted != MailWanted.ALL.value:
            return Outcome(reason=("UNWANTED", "the person has left, or wants no mail any more"), hopeless=True)
        words = worded(EventKind(event.kind), event.facts)
        try:
            return compose_mail(
                words, delivery_id=leased.id, sender=self._settings.mail_from, name=user.name, address=user.email,
                site=self._settings.public_url, at=created_at,
            )  # fmt: skip
        except ValueError as error:
            return Outcome(reason=("INVALID_ADDRESS", str(error)), hopeless=True)

    async def _conclude(self, leased: Leased, outcome: Outcome) -> None:
        self._reach("sent")
        async with self._database.transaction() as session:
            held = await conclude(
                session, self._actor, leased, outcome, at=self._clock.now(), new_id=self._new_id, jitter=self._jitter
            )
            # With its webhook or its notification it goes, too, and then nobody else has sent it.
            gone = not held and await session.get(Delivery, leased.id) is None
        if not held and not gone:
            logger.warning("The delivery %s was sent by two: its lease was over before it was concluded.", leased.id)


@asynccontextmanager
async def dispatching(
    *, database: Database, settings: Settings, clock: Clock, new_id: IdSource, owner: str
) -> AsyncIterator[None]:
    """Sends as long as it is entered."""
    async with opened_client(settings.webhook_networks) as client:
        dispatcher = Dispatcher(
            database=database, settings=settings, clock=clock, new_id=new_id, owner=owner, client=client
        )
        task = asyncio.create_task(dispatcher.run(), name="dispatcher")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await dispatcher.close()
