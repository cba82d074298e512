"""What people were told and what left the house about it: notifications, webhooks, deliveries in every state."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from guildhall.clock import new_id
from guildhall.db.base import Base
from guildhall.inbox.deliveries import PING, DeliveryChannel, DeliveryState
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.mail_preferences import MailWanted
from guildhall.inbox.tables import Delivery, InboxEvent, InboxSettings, Notification, Webhook, WebhookSecret
from marketplace.tables import Allocation
from registry.access.tables import AccessGrant, AccessRequest
from registry.loosening.tables import Loosening
from registry.volume.tables import AccessAlert
from scheduler.jobs.tables import Job
from tests.guildhall.graphql.oracle.strewing import Strewing

TOLD_OF_EACH_KIND, WEBHOOKS, TRIED_MAX = 3, 4, 9
SUBJECTS: dict[EventKind, tuple[str, type[Base]]] = {
    EventKind.JOB_ENDED: ("Job", Job),
    EventKind.HOLD_RELEASED: ("Job", Job),
    EventKind.ACCESS_ASKED: ("AccessRequest", AccessRequest),
    EventKind.ACCESS_DECIDED: ("AccessRequest", AccessRequest),
    EventKind.ACCESS_WITHDRAWN: ("AccessGrant", AccessGrant),
    EventKind.ACCESS_ENDS: ("AccessGrant", AccessGrant),
    EventKind.ACCESS_ALERT: ("AccessAlert", AccessAlert),
    EventKind.ALLOCATION_ENDS: ("Allocation", Allocation),
    EventKind.LOOSENING_ASKED: ("Loosening", Loosening),
    EventKind.LOOSENING_DECIDED: ("Loosening", Loosening),
    EventKind.LOOSENING_WITHDRAWN: ("Loosening", Loosening),
}
MOMENT = timedelta(hours=1)


class Inbox(Strewing):
    """Rows about the jobs, requests, grants, alerts and allocations that there are by now, for all people."""

    async def strew(self) -> None:
        """All of it; the caller commits."""
        await self._meet()
        webhooks = [await self._webhook(number) for number in range(WEBHOOKS)]
        for kind, (type_name, table) in SUBJECTS.items():
            told = select(InboxEvent.subject_id).where(InboxEvent.kind == kind.value)
            untold = select(table.__table__.c.id).where(table.__table__.c.id.not_in(told)).limit(TOLD_OF_EACH_KIND)
            for key in list(await self._session.scalars(untold)):
                event = await self._event(kind, type_name, key)
                for webhook in self._random.sample(webhooks, 2):
                    await self._delivery(kind.value, event_id=event, webhook_id=webhook)
                for person in self._people:
                    await self._notification(event, kind, person)
        for webhook in webhooks:
            await self._delivery(PING, webhook_id=webhook)
        for person in self._random.sample(self._people, 5):
            wanted = self._random.choice(list(MailWanted)).value
            await self._add(InboxSettings(user_id=person, mail=wanted, changed_at=self._moment()))

    async def _event(self, kind: EventKind, type_name: str, subject_id: UUID) -> UUID:
        """With the facts that its sentences are made from; one of an older release lacks some."""
        words = ("job", "state", "message", "captured", "released", "held", "requester", "for", "justification")
        known = ("by", "dataset", "remaining", "team", "programme", "reason")
        facts = {word: self._text() for word in (*words, *known) if self._random.random() < 0.9}
        event = InboxEvent(
            id=new_id(),
            kind=kind.value,
            subject_type=type_name,
            subject_id=subject_id,
            team_id=self._random.choice((None, *self._teams)),
            facts={
                **facts,
                "resources": [self._text() for _ in range(self._random.randint(0, 5))],
                "purpose": self._random.choice((None, "defect-detection")),
                "durationSeconds": self._random.choice((60, 10**6, "long")),
                "validTo": self._random.choice((self._at.isoformat(), "soon")),
            },
            occurred_at=self._moment(),
        )
        await self._add(event)
        return event.id

    async def _notification(self, event: UUID, kind: EventKind, person: UUID) -> None:
        told = Notification(
            id=new_id(),
            event_id=event,
            user_id=person,
            created_at=self._moment(),
            read_at=self._random.choice((None, self._at)),
        )
        await self._add(told)
        if self._random.random() < 0.2:
            await self._delivery(kind.value, event_id=event, notification_id=told.id)

    async def _webhook(self, number: int) -> UUID:
        paused = number % 2 == 1
        webhook = Webhook(
            id=new_id(),
            team_id=None if number == 0 else self._random.choice(self._teams),
            label=self._text(),
            url=f"https://receiver-{number}.example/told",
            kinds=[kind.value for kind in self._random.sample(list(EventKind), number + 1)],
            paused_at=self._at if paused else None,
            pause_code="TOLD" if paused else None,
            pause_message=self._text() if paused else None,
            rests_until=self._random.choice((None, self._at + MOMENT)),
            created_at=self._moment(),
        )
        await self._add(webhook)
        for expires_at in (None, self._at + MOMENT)[: 1 + number % 2]:
            secret = WebhookSecret(
                id=new_id(),
                webhook_id=webhook.id,
                key_name="key",
                nonce=b"nonce",
                ciphertext=b"secret",
                created_at=self._at,
                expires_at=expires_at,
            )
            await self._add(secret)
        return webhook.id

    async def _delivery(
        self,
        kind: str,
        *,
        event_id: UUID | None = None,
        webhook_id: UUID | None = None,
        notification_id: UUID | None = None,
    ) -> None:
        draw = self._random
        state, failed = draw.choice(list(DeliveryState)), draw.random() < 0.5
        delivery = Delivery(
            id=new_id(),
            channel=(DeliveryChannel.MAIL if webhook_id is None else DeliveryChannel.WEBHOOK).value,
            webhook_id=webhook_id,
            notification_id=notification_id,
            event_id=event_id,
            kind=kind,
            state=state.value,
            attempts=draw.randint(0, TRIED_MAX),
            due_at=self._moment(),
            status=draw.choice((None, 200, 503)),
            reason_code="TOLD" if failed else None,
            reason_message=self._text() if failed else None,
            created_at=self._moment(),
            ended_at=None if state is DeliveryState.WAITING else self._at,
        )
        await self._add(delivery)
