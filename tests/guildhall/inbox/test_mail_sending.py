"""Mails handed to a real SMTP server: signed in and encrypted; taken, refused for now or for good, away, hanging."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import update

from guildhall.auth.tables import User
from guildhall.clock import new_id
from guildhall.inbox import dispatching, mail_sending
from guildhall.inbox.deliveries import MAIL_LEASE_SECONDS
from guildhall.inbox.mail_preferences import MailWanted, update_inbox_settings
from guildhall.inbox.mail_sending import MailConnection, MailServer, mail_server
from guildhall.settings import Settings, SettingsError
from tests.conftest import MONDAY_MORNING
from tests.guildhall.inbox.mail_sink import PASSWORD, USER, Sink, mail_sink
from tests.guildhall.inbox.office import Killed, Office, settled

FROM = "Guildhall <guildhall@example.org>"


@pytest.fixture
def certificates(certified: Callable[[str], ssl.SSLContext]) -> ssl.SSLContext:
    """What the sink shows."""
    return certified("127.0.0.1")


async def wants_mail(office: Office, name: str, mail: MailWanted = MailWanted.ALL) -> None:
    actor = await office.actor(name)
    async with office.database.transaction() as session:
        await update_inbox_settings(session, actor, mail=mail, at=office.clock.now(), new_id=new_id)


async def told(office: Office, sink: Sink, *, url: str = "smtp://127.0.0.1:{}") -> Office:
    """Mia wants mail and is told of a job."""
    await wants_mail(office, "mia")
    await office.tell("mia", "vera")
    return office.with_settings(smtp_url=url.format(sink.port), mail_from=FROM)


async def outcome(office: Office) -> tuple[str, int, int | None, str | None]:
    delivery = await office.delivery()
    return delivery.state, delivery.attempts, delivery.status, delivery.reason_code


class TestMail:
    async def test_goes_to_whom_was_told_and_wants_it(self, office: Office) -> None:
        async with mail_sink() as sink:
            await (await told(office, sink)).send()
        delivery = await office.delivery()
        (mail,), (envelope,) = sink.mails, sink.envelopes
        assert (envelope.mail_from, envelope.rcpt_tos) == ("guildhall@example.org", ["mia@example.org"])
        assert (mail["Subject"], mail["Message-ID"]) == ("Job train failed", f"<{delivery.id}@example.org>")
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail.get_content().startswith("It ended with exit code 1; 2 credits charged.")
        assert await outcome(office) == ("DELIVERED", 1, 250, None)

    async def test_without_a_server_none_is_made(self, office: Office) -> None:
        await wants_mail(office, "mia")
        await office.tell("mia")
        await office.send()
        assert await office.deliveries() == []

    @pytest.mark.parametrize(
        ("scheme", "sign_in"), [("smtps", False), ("smtp+starttls", False), ("smtp+starttls", True)]
    )
    async def test_encrypted_and_signed_in(
        self, office: Office, certificates: ssl.SSLContext, scheme: str, sign_in: bool
    ) -> None:
        way: dict[str, Any] = {"tls": certificates} if scheme == "smtps" else {"starttls": certificates}
        user = f"{USER}:{quote(PASSWORD, safe='')}@" if sign_in else ""
        async with mail_sink(sign_in=sign_in, **way) as sink:
            await (await told(office, sink, url=f"{scheme}://{user}127.0.0.1:{{}}")).send()
        assert (await outcome(office), len(sink.mails)) == (("DELIVERED", 1, 250, None), 1)

    async def test_with_the_password_of_a_file(
        self, office: Office, certificates: ssl.SSLContext, tmp_path: Path
    ) -> None:
        path = tmp_path / "password"
        path.write_text(PASSWORD + "\n")
        async with mail_sink(starttls=certificates, sign_in=True) as sink:
            await told(office, sink, url=f"smtp+starttls://{USER}@127.0.0.1:{{}}")
            await office.with_settings(smtp_password_file=path).send()
        assert await outcome(office) == ("DELIVERED", 1, 250, None)

    async def test_many_over_one_connection(self, office: Office) -> None:
        async with mail_sink() as sink:
            await told(office, sink)
            for _ in range(4):
                await office.tell("mia")
            await office.send()
        assert (len(sink.mails), sink.connections) == (5, 1)
        assert len({mail["Message-ID"] for mail in sink.mails}) == 5

    async def test_two_workers_at_once_send_each_once(self, office: Office) -> None:
        async with mail_sink() as sink:
            await told(office, sink)
            for _ in range(9):
                await office.tell("mia")
            async with office.dispatcher(owner="one") as one, office.dispatcher(owner="two") as two:
                while {each.state for each in await office.deliveries()} != {"DELIVERED"}:
                    await asyncio.gather(one.begin_round(), two.begin_round())
                    await asyncio.gather(settled(one), settled(two))
        assert len({mail["Message-ID"] for mail in sink.mails}) == len(sink.mails) == 10

    async def test_a_worker_killed_after_sending_sends_the_same_again(self, office: Office) -> None:
        def die(_point: str) -> None:
            raise Killed

        async with mail_sink() as sink:
            await told(office, sink)
            async with office.dispatcher(reach=die) as dying:
                await dying.begin_round()
                await dying.begin_round()
                with pytest.raises(Killed):
                    await settled(dying)
            office.clock.advance(seconds=MAIL_LEASE_SECONDS)
            await office.send()
        first, again = sink.envelopes
        assert first.content == again.content
        assert await outcome(office) == ("DELIVERED", 2, 250, None)


class TestTrouble:
    @pytest.mark.parametrize("command", ["recipient", "data"])
    async def test_refused_for_now_is_tried_again(self, office: Office, command: str) -> None:
        async with mail_sink() as sink:
            setattr(sink, command, "451 Later,\r\n please")
            await (await told(office, sink)).send()
            assert await outcome(office) == ("WAITING", 1, 451, "REFUSED")
            setattr(sink, command, "OK")
            office.clock.advance(seconds=5)
            await office.send()
        assert (await outcome(office), len(sink.mails)) == (("DELIVERED", 2, 250, None), 1)

    @pytest.mark.parametrize("command", ["recipient", "data"])
    async def test_refused_for_good_is_a_dead_letter_and_the_others_go_on(self, office: Office, command: str) -> None:
        async with mail_sink() as sink:
            setattr(sink, command, "550 Unknown here")
            await told(office, sink)
            await office.tell("mia")
            await office.send()
        for delivery in await office.deliveries():
            assert (delivery.state, delivery.attempts, delivery.status) == ("DEAD", 1, 550)
            assert delivery.reason_message == "the mail server answered 550: Unknown here"
        assert sink.connections == 1

    async def test_a_wrong_password_is_no_mail_s_fault(self, office: Office, certificates: ssl.SSLContext) -> None:
        async with mail_sink(starttls=certificates, sign_in=True) as sink:
            await (await told(office, sink, url=f"smtp+starttls://{USER}:wrong@127.0.0.1:{{}}")).send()
        assert await outcome(office) == ("WAITING", 1, 535, "UNREACHABLE")
        assert sink.mails == []

    @pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
    async def test_a_certificate_of_an_authority_that_nobody_knows(
        self, office: Office, certificates: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, scheme: str
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE")
        assert await self._refused(office, certificates, scheme) == "unable to get local issuer certificate"

    @pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
    async def test_a_certificate_of_another_server(
        self, office: Office, certified: Callable[[str], ssl.SSLContext], scheme: str
    ) -> None:
        why = await self._refused(office, certified("127.0.0.9"), scheme)
        assert why == "IP address mismatch, certificate is not valid for '127.0.0.1'."

    @staticmethod
    async def _refused(office: Office, certificate: ssl.SSLContext, scheme: str) -> str:
        """Why, as the delivery tells it; nothing was handed in."""
        way: dict[str, Any] = {"tls": certificate} if scheme == "smtps" else {"starttls": certificate}
        async with mail_sink(**way) as sink:
            await (await told(office, sink, url=f"{scheme}://127.0.0.1:{{}}")).send()
        assert (await outcome(office), sink.mails) == (("WAITING", 1, None, "TLS_FAILED"), [])
        return str((await office.delivery()).reason_message).removeprefix(
            "the mail server: its certificate is not accepted: "
        )

    async def test_a_server_that_speaks_no_tls(self, office: Office) -> None:
        async with mail_sink() as sink:
            await (await told(office, sink, url="smtps://127.0.0.1:{}")).send()
        assert (await outcome(office), sink.mails) == (("WAITING", 1, None, "TLS_FAILED"), [])
        message = (await office.delivery()).reason_message
        assert message == "the mail server: no encryption could be agreed on: wrong version number"

    async def test_without_the_encryption_that_was_asked_for(self, office: Office) -> None:
        async with mail_sink() as sink:
            await (await told(office, sink, url="smtp+starttls://127.0.0.1:{}")).send()
        assert (await outcome(office), sink.mails) == (("WAITING", 1, None, "UNREACHABLE"), [])

    async def test_nobody_there_is_asked_once_for_all(self, office: Office) -> None:
        async with mail_sink() as sink:
            await told(office, sink)
        await office.tell("mia")
        await office.send()
        assert [(each.state, each.reason_code) for each in await office.deliveries()] == [
            ("WAITING", "UNREACHABLE")
        ] * 2

    async def test_a_server_that_hangs(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        connect = MailConnection
        monkeypatch.setattr(dispatching, "MailConnection", lambda server: connect(server, answer_seconds=0.2))
        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        await told(office, Sink(port=server.sockets[0].getsockname()[1]))
        await office.send()
        server.close()
        await server.wait_closed()
        assert await outcome(office) == ("WAITING", 1, None, "UNREACHABLE")

    async def test_who_has_left_or_wants_none_any_more_gets_none(self, office: Office) -> None:
        async with mail_sink() as sink:
            await told(office, sink)
            await wants_mail(office, "vera")
            await office.tell("vera")
            async with office.dispatcher() as dispatcher:
                await dispatcher._make_deliveries()
            await wants_mail(office, "mia", MailWanted.NONE)
            async with office.database.transaction() as session:
                gone = update(User).where(User.id == office.people["vera"]).values(deactivated_at=MONDAY_MORNING)
                await session.execute(gone)
            await office.send()
        assert [(each.state, each.reason_code) for each in await office.deliveries()] == [("DEAD", "UNWANTED")] * 3
        assert sink.connections == 0

    async def test_an_address_that_is_none(self, office: Office) -> None:
        async with mail_sink() as sink:
            await told(office, sink)
            async with office.database.transaction() as session:
                person = update(User).where(User.id == office.people["mia"])
                await session.execute(person.values(email=".@.."))
            await office.send()
        assert await outcome(office) == ("DEAD", 1, None, "INVALID_ADDRESS")

    async def test_an_address_that_the_server_cannot_take(self, office: Office) -> None:
        async with mail_sink() as sink:
            await told(office, sink)
            async with office.database.transaction() as session:
                person = update(User).where(User.id == office.people["mia"])
                await session.execute(person.values(email="müller@example.org"))
            await office.send()
        assert await outcome(office) == ("DEAD", 1, None, "INVALID_ADDRESS")

    async def test_what_cannot_be_concluded_is_logged(
        self, office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fail(*_given: object, **_more: object) -> bool:
            raise ConnectionError

        monkeypatch.setattr(dispatching, "conclude", fail)
        async with mail_sink() as sink:
            await (await told(office, sink)).send()
        assert "Mails were not concluded" in caplog.text


class TestMailServer:
    def test_of_the_settings(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, smtp_url="smtps://us%40er:p%2Fw@mail.example.org", mail_from=FROM)
        assert mail_server(settings) == MailServer("mail.example.org", 465, "smtps", "us@er", "p/w")
        assert "p/w" not in repr(mail_server(settings))

    def test_none(self, tmp_path: Path) -> None:
        assert mail_server(Settings(data_dir=tmp_path)) is None

    def test_a_password_file_that_is_not_there(self, tmp_path: Path) -> None:
        settings = Settings(
            data_dir=tmp_path, smtp_url="smtps://user@mail.example.org", mail_from=FROM,
            smtp_password_file=tmp_path / "nothing",
        )  # fmt: skip
        with pytest.raises(SettingsError, match=r"GUILDHALL_SMTP_PASSWORD_FILE=.*/nothing cannot be read"):
            mail_server(settings)


async def test_errors_of_servers_stay_short() -> None:
    assert mail_sending._text(Exception("a\r\n b" + "x" * 1_000)) == "a b" + "x" * 297
    assert mail_sending._text(TimeoutError()) == "TimeoutError"
