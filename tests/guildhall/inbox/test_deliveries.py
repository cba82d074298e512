"""Deliveries without a network: backing off, sweeping, sending again, and who may."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import NotFound
from guildhall.inbox.deliveries import (
    ATTEMPTS_MAX,
    WEBHOOK_AT_ONCE_MAX,
    DeliveryWaits,
    backoff_seconds,
    lease_for_webhooks,
    make_deliveries,
    ping_webhook,
    redeliver,
    sweep_deliveries,
    visible_deliveries,
)
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.mail_preferences import MailWanted, update_inbox_settings
from guildhall.inbox.tables import Delivery, InboxEvent
from guildhall.inbox.webhooks import WebhookSpec, pause_webhook, update_webhook
from tests.guildhall.inbox.office import Office
from tests.guildhall.inbox.receivers import FAILS, OK, receiving

URL = "https://chat.example.org/"
KEPT = timedelta(days=30)


async def waiting(office: Office, *, with_mail: bool = False, kind: EventKind = EventKind.JOB_ENDED) -> None:
    """An event that somebody is to be told of."""
    event = await office.tell("mia", kind=kind)
    async with office.database.transaction() as session:
        await make_deliveries(session, [event], with_mail=with_mail, at=office.clock.now(), new_id=new_id)


async def sweep(office: Office) -> int:
    async with office.database.transaction() as session:
        return await sweep_deliveries(session, kept=KEPT, at=office.clock.now())


async def ping(office: Office, webhook_id: UUID, by: str = "mia") -> UUID:
    actor = await office.actor(by)
    async with office.database.transaction() as session:
        return await ping_webhook(session, actor, webhook_id=webhook_id, at=office.clock.now(), new_id=new_id)


class TestBackoffSeconds:
    def test_grows_to_six_hours_and_some_more(self) -> None:
        seconds = [backoff_seconds(attempts, jitter=lambda: 0.0) for attempts in range(1, ATTEMPTS_MAX)]
        assert seconds == [5, 20, 80, 320, 1_280, 5_120, 20_480, 21_600, 21_600, 21_600, 21_600]
        assert timedelta(seconds=sum(seconds)) > timedelta(days=1)
        assert backoff_seconds(1, jitter=lambda: 1.0) == 6.25


class TestMakeDeliveries:
    async def test_twice_makes_them_once(self, office: Office) -> None:
        await office.register(URL)
        await waiting(office)
        async with office.database.transaction() as session:
            events = (await session.scalars(select(InboxEvent.id))).all()
            await make_deliveries(session, events, with_mail=True, at=office.clock.now(), new_id=new_id)
        assert len(await office.deliveries()) == 1


class TestPing:
    async def test_is_sent_also_to_a_paused_webhook_and_tried_once(self, office: Office) -> None:
        async with receiving(FAILS, OK) as receiver:
            made = await office.register(receiver.url)
            actor = await office.actor("mia")
            async with office.database.transaction() as session:
                await pause_webhook(session, actor, webhook_id=made.id, at=office.clock.now(), new_id=new_id)
            key = await ping(office, made.id)
            await office.send()
            dead = await office.delivery()
            assert (dead.id, dead.state, dead.attempts, dead.status) == (key, "DEAD", 1, 500)
            await ping(office, made.id)
            await office.send()
        assert [each.state for each in await office.deliveries()] == ["DEAD", "DELIVERED"]
        taken = receiver.taken[0]
        assert (taken.id, b'"type":"webhook.ping"' in taken.body) == (str(key), True)

    async def test_is_for_who_may_change_it(self, office: Office) -> None:
        made = await office.register(URL)
        with pytest.raises(NotFound):
            await ping(office, made.id, by="nils")
        assert await office.deliveries() == []


class TestRedeliver:
    async def again(self, office: Office, who: str, key: UUID) -> None:
        actor = await office.actor(who)
        async with office.database.transaction() as session:
            await redeliver(session, actor, delivery_id=key, at=office.clock.now(), new_id=new_id)

    async def test_not_what_is_still_tried(self, office: Office) -> None:
        await office.register(URL)
        await waiting(office)
        with pytest.raises(DeliveryWaits):
            await self.again(office, "mia", (await office.delivery()).id)

    async def test_not_that_of_others(self, office: Office) -> None:
        await office.register(URL)
        await waiting(office)
        for who in ("nils", "vera"):
            with pytest.raises(NotFound):
                await self.again(office, who, (await office.delivery()).id)

    async def test_not_an_alert_that_the_caller_could_not_read(self, office: Office) -> None:
        await office.with_steward()
        made = await office.register(URL, by="sten", kinds=[EventKind.ACCESS_ALERT])
        await waiting(office, kind=EventKind.ACCESS_ALERT)
        async with office.database.transaction() as session:
            await session.execute(update(Delivery).values(state="DEAD", ended_at=office.clock.now(), attempts=3))
        actor = await office.actor("sten")
        at = office.clock.now()
        async with office.database.transaction() as session:
            spec = WebhookSpec(label="chat", url=URL, kinds=[EventKind.JOB_ENDED])
            await update_webhook(session, actor, spec, webhook_id=made.id, at=at, new_id=new_id)
        dead = await office.delivery()
        with pytest.raises(PermissionRefused):
            await self.again(office, "mia", dead.id)
        assert ((await office.delivery()).state, (await office.delivery()).attempts) == ("DEAD", 3)
        await self.again(office, "sten", dead.id)
        assert (await office.delivery()).state == "WAITING"

    async def test_a_mail_is_an_administrator_s_to_send_again(self, office: Office) -> None:
        actor = await office.actor("mia")
        async with office.database.transaction() as session:
            await update_inbox_settings(session, actor, mail=MailWanted.ALL, at=office.clock.now(), new_id=new_id)
        await waiting(office, with_mail=True)
        mail = await office.delivery()
        async with office.database.transaction() as session:
            dead = update(Delivery).values(state="DEAD", ended_at=office.clock.now(), attempts=3)
            await session.execute(dead)
        with pytest.raises(NotFound):
            await self.again(office, "mia", mail.id)
        await self.again(office, "ada", mail.id)
        assert ((await office.delivery()).state, (await office.delivery()).attempts) == ("WAITING", 0)

    async def test_who_sees_them_all_may_not_send_them_all(self, office: Office) -> None:
        await office.register(URL)
        await waiting(office)
        actor = await office.actor("ada")
        async with office.database.read() as session:
            assert len((await session.scalars(select(Delivery).where(visible_deliveries(actor)))).all()) == 1
        program = await office.actor("otto")
        async with office.database.read() as session:
            assert (await session.scalars(select(Delivery).where(visible_deliveries(program)))).all() == []


class TestSweepDeliveries:
    async def test_forgets_what_ended_long_ago(self, office: Office) -> None:
        async with receiving() as receiver:
            await office.register(receiver.url)
            await office.tell()
            await office.send()
        office.clock.advance(KEPT - timedelta(seconds=1))
        assert (await sweep(office), len(await office.deliveries())) == (0, 1)
        office.clock.advance(seconds=1)
        assert (await sweep(office), await office.deliveries()) == (1, [])

    async def test_gives_up_what_waited_too_long_at_a_paused_webhook(self, office: Office) -> None:
        made = await office.register(URL)
        actor = await office.actor("mia")
        async with office.database.transaction() as session:
            await pause_webhook(session, actor, webhook_id=made.id, at=office.clock.now(), new_id=new_id)
        await waiting(office)
        office.clock.advance(KEPT)
        assert await sweep(office) == 1
        dead = await office.delivery()
        assert (dead.state, dead.attempts, dead.reason_code) == ("DEAD", 0, "WAITED_TOO_LONG")
        assert await sweep(office) == 0

    async def test_gives_up_what_kills_whoever_sends_it(self, office: Office) -> None:
        async with receiving() as receiver:
            await office.register(receiver.url)
            await waiting(office)
            async with office.database.transaction() as session:
                await session.execute(update(Delivery).values(attempts=ATTEMPTS_MAX))
            await office.send()
            assert receiver.taken == []
        assert await sweep(office) == 1
        assert (await office.delivery()).reason_code == "WAITED_TOO_LONG"


class TestLeaseForWebhooks:
    async def lease(self, office: Office, limit: int, first_only: int = 0) -> list[UUID]:
        """The webhooks of what one worker leases."""
        async with office.database.transaction() as session:
            leased = await lease_for_webhooks(
                session, limit=limit, first_only=first_only, owner="w", at=office.clock.now(), new_id=new_id
            )
            found = select(Delivery.webhook_id).where(Delivery.id.in_([each.id for each in leased]))
            return [each for each in await session.scalars(found) if each is not None]

    async def test_however_many_hang_others_have_room(self, office: Office) -> None:
        hanging = [(await office.register(URL)).id for _ in range(7)]
        for _ in range(WEBHOOK_AT_ONCE_MAX + 2):
            await waiting(office)
        assert sorted(await self.lease(office, 28)) == sorted(hanging * WEBHOOK_AT_ONCE_MAX)
        office.clock.advance(seconds=1)
        other = await office.register(URL)
        await waiting(office)
        assert await self.lease(office, 4) == [other.id]

    async def test_room_is_shared_by_who_has_least_under_way(self, office: Office) -> None:
        busy = await office.register(URL)
        for _ in range(WEBHOOK_AT_ONCE_MAX):
            await waiting(office)
        assert await self.lease(office, 2) == [busy.id] * 2
        office.clock.advance(seconds=1)
        other = await office.register(URL)
        for _ in range(WEBHOOK_AT_ONCE_MAX):
            await waiting(office)
        assert await self.lease(office, 1) == [other.id]
        assert sorted(await self.lease(office, 3)) == sorted([busy.id, other.id, other.id])

    async def test_some_room_is_for_who_has_nothing_under_way(self, office: Office) -> None:
        busy = await office.register(URL)
        for _ in range(WEBHOOK_AT_ONCE_MAX):
            await waiting(office)
        assert await self.lease(office, 4, first_only=2) == [busy.id] * 2
        assert await self.lease(office, 2, first_only=2) == []
        office.clock.advance(seconds=1)
        others = [(await office.register(URL)).id for _ in range(3)]
        await waiting(office)
        assert sorted(await self.lease(office, 2, first_only=2)) == sorted(others)[:2]
