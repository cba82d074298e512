"""What leaves the house, to real receivers: once where nothing fails, again where something does, never elsewhere."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from guildhall.audit.tables import AuditEvent
from guildhall.clock import SystemClock, new_id
from guildhall.inbox.deliveries import (
    ATTEMPTS_MAX,
    BACKOFF_SECONDS_MAX,
    REST_SECONDS_MAX,
    WEBHOOK_LEASE_SECONDS,
    redeliver,
)
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.tables import WebhookSecret
from guildhall.keys import add_key
from guildhall.outbox.tables import OutboxRow
from guildhall.settings import SettingsError
from tests.conftest import MONDAY_MORNING
from tests.guildhall.inbox.office import Killed, Office, settled
from tests.guildhall.inbox.receivers import CLOSES, FAILS, GONE, HANGS, OK, Receiver, busy, receiving, redirects

DAY = 24 * 3_600


async def outcome(office: Office) -> tuple[str, int, int | None, str | None]:
    delivery = await office.delivery()
    return delivery.state, delivery.attempts, delivery.status, delivery.reason_code


class TestDelivery:
    async def test_brings_what_the_inbox_says_and_is_signed(self, office: Office) -> None:
        office.clock.advance_to(max(SystemClock().now(), MONDAY_MORNING))
        async with receiving() as receiver:
            made = await office.register(receiver.url)
            event = await office.tell("mia")
            await office.send()
        (taken,) = receiver.taken
        at = office.clock.now().isoformat().replace("+00:00", "Z")
        body = taken.verified_by(made.secret)
        assert isinstance(body, dict)
        subject = body["data"].pop("subject")
        assert (subject["type"], subject["id"][:4]) == ("Job", "Job_")
        assert body == {
            "type": "job.ended",
            "timestamp": at,
            "data": {
                "title": "Job train failed",
                "text": "It ended with exit code 1; 2 credits charged.",
                "team": "press",
                "facts": {"job": "train", "state": "FAILED", "message": "it ended with exit code 1", "captured": "2"},
            },
        }
        assert (taken.head, taken.id) == ("POST /hooks HTTP/1.1", str(event))
        assert taken.headers["content-type"] == "application/json"
        assert taken.headers["user-agent"] == "Guildhall-Webhooks/1"
        assert await outcome(office) == ("DELIVERED", 1, 204, None)
        async with office.database.read() as session:
            assert (await session.scalars(select(OutboxRow.done_at))).all() == [office.clock.now()]

    async def test_goes_to_the_team_s_webhooks_and_the_organisation_s_for_that_kind(self, office: Office) -> None:
        async with receiving() as own, receiving() as others, receiving() as everybodys:
            await office.register(own.url)
            await office.register(own.url, kinds=[EventKind.HOLD_RELEASED])
            await office.register(others.url, by="nils", team="sales")
            await office.register(everybodys.url, by="ada", team=None)
            await office.tell()
            await office.tell(team=None)
            await office.send()
            assert (len(own.taken), len(others.taken), len(everybodys.taken)) == (1, 0, 2)

    async def test_what_happened_before_it_was_registered_stays_inside(self, office: Office) -> None:
        await office.tell()
        office.clock.advance(seconds=1)
        async with receiving() as receiver:
            await office.register(receiver.url)
            await office.send()
            assert (receiver.taken, await office.deliveries()) == ([], [])

    async def test_two_workers_at_once_bring_each_once(self, office: Office) -> None:
        async with receiving() as receiver:
            await office.register(receiver.url)
            for _ in range(20):
                await office.tell()
            async with office.dispatcher(owner="one") as one, office.dispatcher(owner="two") as two:
                while {each.state for each in await office.deliveries()} != {"DELIVERED"}:
                    await asyncio.gather(one.begin_round(), two.begin_round())
                    await asyncio.gather(settled(one), settled(two))
            assert len({taken.id for taken in receiver.taken}) == len(receiver.taken) == 20

    async def test_a_worker_killed_between_sending_and_recording(self, office: Office) -> None:
        def die(point: str) -> None:
            assert point == "sent"
            raise Killed

        async with receiving() as receiver:
            made = await office.register(receiver.url)
            await office.tell()
            async with office.dispatcher(reach=die) as dying:
                await dying.begin_round()
                with pytest.raises(Killed):
                    await settled(dying)
            await office.send()
            assert len(receiver.taken) == 1, "it is leased still"
            office.clock.advance(seconds=WEBHOOK_LEASE_SECONDS)
            await office.send()
            first, again = receiver.taken
        assert (first.id, first.body) == (again.id, again.body)
        assert first.headers["webhook-signature"] != again.headers["webhook-signature"], "each attempt has its time"
        assert await outcome(office) == ("DELIVERED", 2, 204, None)
        assert made.secret

    async def test_who_lost_the_lease_says_nothing_of_it(
        self, office: Office, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with receiving(HANGS, OK) as receiver:
            arrived = asyncio.Event()
            receiver.on_request = arrived.set
            await office.register(receiver.url)
            await office.tell()
            async with office.dispatcher() as slow:
                await slow.begin_round()
                await arrived.wait()
                office.clock.advance(seconds=WEBHOOK_LEASE_SECONDS)
                await office.send(owner="quick")
                receiver.hangs_up.set()
                await settled(slow)
        assert await outcome(office) == ("DELIVERED", 2, 204, None)
        assert "was sent by two" in caplog.text


class TestEncryption:
    async def test_a_certificate_that_is_good(self, office: Office, certified: Callable[[str], ssl.SSLContext]) -> None:
        async with receiving(tls=certified("127.0.0.1")) as receiver:
            assert await self._sent(office, receiver) == ("DELIVERED", 1, 204, None)
            assert len(receiver.taken) == 1

    async def test_a_certificate_of_an_authority_that_nobody_knows(
        self, office: Office, certified: Callable[[str], ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate = certified("127.0.0.1")
        monkeypatch.delenv("SSL_CERT_FILE")
        async with receiving(tls=certificate) as receiver:
            assert await self._sent(office, receiver) == ("WAITING", 1, None, "TLS_FAILED")
            assert receiver.taken == []
        said = (await office.delivery()).reason_message
        assert said == "the receiver: its certificate is not accepted: unable to get local issuer certificate"

    async def test_a_certificate_of_another_receiver(
        self, office: Office, certified: Callable[[str], ssl.SSLContext]
    ) -> None:
        async with receiving(tls=certified("127.0.0.9")) as receiver:
            assert await self._sent(office, receiver) == ("WAITING", 1, None, "TLS_FAILED")
            assert receiver.taken == []
        said = (await office.delivery()).reason_message
        assert said is not None
        assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in said

    async def test_a_receiver_that_speaks_no_tls(self, office: Office) -> None:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(FAILS)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        receiver = Receiver(port=server.sockets[0].getsockname()[1], scheme="https")
        sent = await self._sent(office, receiver)
        server.close()
        await server.wait_closed()
        assert sent == ("WAITING", 1, None, "TLS_FAILED")

    @staticmethod
    async def _sent(office: Office, receiver: Receiver) -> tuple[str, int, int | None, str | None]:
        await office.register(receiver.url)
        await office.tell()
        await office.send()
        return await outcome(office)


class TestTrouble:
    @pytest.mark.parametrize(
        ("answer", "status", "code"),
        [
            (FAILS, 500, "REFUSED"),
            (CLOSES, None, "NO_ANSWER"),
            (b"no HTTP at all\r\n\r\n", None, "NO_ANSWER"),
            (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", None, "NO_ANSWER"),
            (redirects("http://169.254.169.254/"), 302, "REDIRECTED"),
        ],
    )
    async def test_it_is_tried_again_as_the_same_message(
        self, office: Office, answer: bytes, status: int | None, code: str
    ) -> None:
        async with receiving(answer, OK) as receiver:
            await office.register(receiver.url)
            await office.tell()
            await office.send()
            assert await outcome(office) == ("WAITING", 1, status, code)
            assert (await office.delivery()).due_at == office.clock.now() + timedelta(seconds=5)
            office.clock.advance(seconds=5)
            await office.send()
            assert len({taken.id for taken in receiver.taken}) == 1
        assert await outcome(office) == ("DELIVERED", 2, 204, None)

    async def test_who_hangs_is_not_waited_for(self, office: Office) -> None:
        async with receiving(HANGS) as receiver:
            await office.register(receiver.url)
            await office.tell()
            await office.send(answer_seconds=0.2)
        assert await outcome(office) == ("WAITING", 1, None, "TIMED_OUT")

    async def test_nobody_there(self, office: Office) -> None:
        async with receiving() as receiver:
            await office.register(receiver.url)
        await office.tell()
        await office.send()
        assert await outcome(office) == ("WAITING", 1, None, "UNREACHABLE")

    async def test_an_answer_without_end_is_not_read(self, office: Office) -> None:
        async with receiving(b"HTTP/1.1 200 OK\r\n\r\n", endless=True) as receiver:
            await office.register(receiver.url)
            await office.tell()
            await office.send()
        assert await outcome(office) == ("DELIVERED", 1, 200, None)

    async def test_an_address_that_is_not_allowed_any_more(self, office: Office) -> None:
        async with receiving() as receiver:
            await office.register(receiver.url)
            await office.tell()
            await office.with_settings(webhook_networks=()).send()
            assert receiver.taken == []
        assert await outcome(office) == ("WAITING", 1, None, "ADDRESS_REFUSED")
        message = (await office.delivery()).reason_message
        assert message is not None
        assert "GUILDHALL_WEBHOOK_NETWORKS" in message
        assert "127.0.0.1" not in message

    async def test_after_the_last_attempt_it_is_a_dead_letter_that_can_be_sent_again(self, office: Office) -> None:
        async with receiving(*[FAILS] * ATTEMPTS_MAX, OK) as receiver:
            made = await office.register(receiver.url)
            await office.tell()
            begun = office.clock.now()
            for _ in range(ATTEMPTS_MAX):
                await office.send()
                office.clock.advance(seconds=BACKOFF_SECONDS_MAX)
            assert await outcome(office) == ("DEAD", ATTEMPTS_MAX, 500, "REFUSED")
            await office.send()
            assert len(receiver.taken) == ATTEMPTS_MAX
            dead = await office.delivery()
            actor = await office.actor("mia")
            async with office.database.transaction() as session:
                await redeliver(session, actor, delivery_id=dead.id, at=office.clock.now(), new_id=new_id)
            await office.send()
            assert {taken.id for taken in receiver.taken} == {str(dead.event_id)}
        assert await outcome(office) == ("DELIVERED", 1, 204, None)
        assert (dead.created_at, made.id) == (begun, dead.webhook_id)

    async def test_a_key_that_is_not_here_is_told_and_waited_for(self, office: Office) -> None:
        async with receiving() as receiver:
            await office.register(receiver.url)
            await office.tell()
            path = office.settings.credentials_key_file
            before = path.read_text()
            add_key(path)
            path.write_text(path.read_text().splitlines()[0] + "\n")
            await office.send()
            assert await outcome(office) == ("WAITING", 1, None, "KEY_MISSING")
            path.write_text(before)
            office.clock.advance(seconds=5)
            await office.send()
        assert await outcome(office) == ("DELIVERED", 2, 204, None)

    async def test_a_key_that_is_not_here_is_the_trouble_of_its_webhooks_alone(self, office: Office) -> None:
        async with receiving() as one, receiving() as other:
            lost, kept = await office.register(one.url), await office.register(other.url)
            async with office.database.transaction() as session:
                here = WebhookSecret.webhook_id == lost.id
                await session.execute(update(WebhookSecret).where(here).values(key_name="0123456789abcdef"))
            await office.tell()
            await office.send()
            assert (len(one.taken), len(other.taken)) == (0, 1)
        states = {each.webhook_id: (each.state, each.reason_code) for each in await office.deliveries()}
        assert states == {lost.id: ("WAITING", "KEY_MISSING"), kept.id: ("DELIVERED", None)}

    async def test_no_attempt_counts_while_the_keys_cannot_be_read(self, office: Office) -> None:
        async with receiving() as receiver:
            await office.register(receiver.url)
            await office.tell()
            path = office.settings.credentials_key_file
            before = path.read_text()
            path.write_text("no key at all\n")
            for _ in range(2):
                with pytest.raises(SettingsError):
                    await office.send()
            assert await outcome(office) == ("WAITING", 0, None, None)
            path.write_text(before)
            await office.send()
        assert await outcome(office) == ("DELIVERED", 1, 204, None)


class TestReceiversWishes:
    @pytest.mark.parametrize(
        ("after", "status", "seconds"),
        [
            ("120", 503, 120),
            ("120", 429, 120),
            ("99999999999", 503, REST_SECONDS_MAX),
            ("Mon, 02 Mar 2026 08:10:00 GMT", 503, 600),
            ("Mon, 02 Mar 99999999999 08:10:00 GMT", 503, None),
            ("Mon, 02 Mar 2026 08:10:00 +9999999999999", 503, None),
            ("Mon, 02 Mar 2026 08:10:00 -0000", 503, 600),
            ("Sun, 01 Mar 2026 08:10:00 GMT", 503, None),
            ("0", 503, None),
            ("soon", 503, None),
            ("120", 500, None),
        ],
    )
    async def test_rest_is_given_to_all_of_its_deliveries(
        self, office: Office, after: str, status: int, seconds: int | None
    ) -> None:
        async with receiving(busy(after, status), OK) as receiver:
            made = await office.register(receiver.url)
            await office.tell()
            await office.send()
            rests_until = (await office.webhook(made.id)).rests_until
            due_at = (await office.delivery()).due_at
            if seconds is None:
                assert (rests_until, due_at) == (None, office.clock.now() + timedelta(seconds=5))
                return
            assert rests_until == due_at == office.clock.now() + timedelta(seconds=seconds)
            await office.tell()
            office.clock.advance(seconds=seconds - 1)
            await office.send()
            assert len(receiver.taken) == 1
            office.clock.advance(seconds=1)
            await office.send()
            assert [each.state for each in await office.deliveries()] == ["DELIVERED", "DELIVERED"]

    async def test_gone_pauses_the_webhook(self, office: Office) -> None:
        async with receiving(GONE) as receiver:
            made = await office.register(receiver.url)
            await office.tell()
            await office.send()
            await office.tell()
            await office.send()
            assert len(receiver.taken) == 1
        webhook = await office.webhook(made.id)
        assert (webhook.paused_at, webhook.pause_code) == (office.clock.now(), "GONE")
        assert [(each.state, each.status) for each in await office.deliveries()] == [("DEAD", 410), ("WAITING", None)]
        async with office.database.read() as session:
            rows = await session.execute(select(AuditEvent.actor_kind, AuditEvent.after).order_by(AuditEvent.id.desc()))
            assert tuple(rows.first() or ()) == ("SYSTEM", {"paused": "GONE"})

    async def test_gone_twice_is_said_once(self, office: Office) -> None:
        async with receiving(GONE) as receiver:
            made = await office.register(receiver.url)
            await office.tell()
            await office.tell()
            await office.send()
            assert len(receiver.taken) == 2
        async with office.database.read() as session:
            paused = select(AuditEvent).where(AuditEvent.after == {"paused": "GONE"})
            assert len((await session.scalars(paused)).all()) == 1
        assert (await office.webhook(made.id)).pause_code == "GONE"
