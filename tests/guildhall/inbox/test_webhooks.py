"""Webhooks: who may have which events sent where, and what is on record of it."""

from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.db.transaction import WriteSession
from guildhall.errors import InvalidInput, NotFound
from guildhall.inbox import webhooks
from guildhall.inbox.deliveries import make_deliveries
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.tables import Webhook, WebhookSecret
from guildhall.inbox.webhook_addresses import InvalidWebhookUrl
from guildhall.inbox.webhook_secrets import encrypt_secrets_anew, read_secrets
from guildhall.inbox.webhooks import (
    OVERLAP_SECONDS_MAX,
    InvalidOverlap,
    TooManyWebhooks,
    WebhookSpec,
    delete_webhook,
    lock_webhook,
    pause_webhook,
    resume_webhook,
    rotate_secret,
    update_webhook,
)
from guildhall.keys import add_key
from tests.guildhall.inbox.office import Office

URL = "https://chat.example.org/hooks/s3cret?key=1"
JOBS = (EventKind.JOB_ENDED,)


async def count(office: Office, table: type[Any]) -> int:
    async with office.database.read() as session:
        return (await session.scalars(select(func.count()).select_from(table))).one()


async def by(office: Office, name: str, act: Callable[[WriteSession, Actor], Awaitable[Any]]) -> Any:
    actor = await office.actor(name)
    async with office.database.transaction() as session:
        return await act(session, actor)


async def last_event(office: Office) -> AuditEvent:
    async with office.database.read() as session:
        return (await session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1))).one()


def spec(label: str = "chat", url: str = URL, kinds: Collection[EventKind] = JOBS) -> WebhookSpec:
    return WebhookSpec(label=label, url=url, kinds=kinds)


class TestRegister:
    async def test_keeps_it_and_answers_the_secret_once(self, office: Office) -> None:
        made = await office.register(URL, kinds=[EventKind.HOLD_RELEASED, EventKind.JOB_ENDED])
        webhook = await office.webhook(made.id)
        assert (webhook.team_id, webhook.label, webhook.url) == (office.teams["press"], "chat", URL)
        assert webhook.kinds == ["JOB_ENDED", "HOLD_RELEASED"]
        async with office.database.read() as session:
            row = (await session.scalars(select(WebhookSecret))).one()
            found = await read_secrets(session, [made.id], keyring=office.keyring, at=office.clock.now())
        assert found == {made.id: [made.secret]}
        assert made.secret.encode() not in row.ciphertext
        event = await last_event(office)
        assert (event.action, event.resource_types, event.team_id) == (
            "guildhall:webhook:change", ["Webhook"], office.teams["press"],
        )  # fmt: skip
        assert event.after == {
            "label": "chat", "receiver": "chat.example.org:443", "kinds": ["JOB_ENDED", "HOLD_RELEASED"],
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("who", "team", "kinds"),
        [
            ("vera", "press", JOBS),
            ("nils", "press", JOBS),
            ("mia", None, JOBS),
            ("otto", None, JOBS),
            ("mia", "press", [EventKind.JOB_ENDED, EventKind.ACCESS_ALERT]),
            ("ada", None, [EventKind.ACCESS_ALERT]),
        ],
    )
    async def test_nobody_has_sent_what_they_could_not_read(
        self, office: Office, who: str, team: str | None, kinds: Collection[EventKind]
    ) -> None:
        with pytest.raises(PermissionRefused):
            await office.register(URL, by=who, team=team, kinds=kinds)
        assert (
            await count(office, Webhook) == await count(office, WebhookSecret) == await count(office, AuditEvent) == 0
        )

    async def test_all_that_is_wrong_is_told_together(self, office: Office) -> None:
        actor = await office.actor("mia")
        with pytest.raises(InvalidInput) as refused:
            webhooks.check_registration(actor, spec(" ", kinds=[]), team_id=office.teams["press"])
        assert [each.field for each in refused.value.problems] == ["label", "kinds"]

    async def test_what_is_no_url(self, office: Office) -> None:
        with pytest.raises(InvalidWebhookUrl):
            await office.register("ftp://example.org")

    async def test_a_team_has_so_many(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(webhooks, "WEBHOOKS_MAX", 1)
        await office.register(URL)
        await office.register(URL, by="ada", team=None)
        for who, team in (("mia", "press"), ("ada", None)):
            with pytest.raises(TooManyWebhooks):
                await office.register(URL, by=who, team=team)
        assert await count(office, Webhook) == 2


class TestChange:
    async def test_update_sets_all_three_and_keeps_the_secret(self, office: Office) -> None:
        made = await office.register(URL)
        at = office.clock.now()

        async def change(session: WriteSession, actor: Actor) -> None:
            changed = spec("pager", "http://pager.example.org:8080/", [EventKind.ALLOCATION_ENDS])
            await update_webhook(session, actor, changed, webhook_id=made.id, at=at, new_id=new_id)

        await by(office, "mia", change)
        webhook = await office.webhook(made.id)
        assert (webhook.label, webhook.url, webhook.kinds) == (
            "pager", "http://pager.example.org:8080/", ["ALLOCATION_ENDS"],
        )  # fmt: skip
        event = await last_event(office)
        assert event.before == {"label": "chat", "receiver": "chat.example.org:443", "kinds": ["JOB_ENDED"]}
        assert await count(office, WebhookSecret) == 1

    @pytest.mark.parametrize("narrowed", [False, True])
    async def test_no_new_address_for_what_the_caller_could_not_read(self, office: Office, narrowed: bool) -> None:
        await office.with_steward()
        made = await office.register(URL, by="sten", kinds=[EventKind.ACCESS_ALERT])
        at = office.clock.now()

        async def change(session: WriteSession, actor: Actor, to: WebhookSpec) -> None:
            await update_webhook(session, actor, to, webhook_id=made.id, at=at, new_id=new_id)

        if narrowed:  # an alert waits still
            event = await office.tell(kind=EventKind.ACCESS_ALERT)
            async with office.database.transaction() as session:
                await make_deliveries(session, [event], with_mail=False, at=at, new_id=new_id)
            await by(office, "sten", partial(change, to=spec()))
        elsewhere = spec(url="https://elsewhere.example.org/")
        begun = await count(office, AuditEvent)
        with pytest.raises(PermissionRefused):
            await by(office, "mia", partial(change, to=elsewhere))
        assert ((await office.webhook(made.id)).url, await count(office, AuditEvent)) == (URL, begun)
        await by(office, "sten", partial(change, to=elsewhere))
        assert (await office.webhook(made.id)).url == elsewhere.url

    async def test_rotated_secrets_overlap_and_no_third_counts(self, office: Office) -> None:
        made = await office.register(URL)

        async def rotate(session: WriteSession, actor: Actor) -> str:
            at = office.clock.advance(seconds=1)
            return await rotate_secret(
                session, actor, webhook_id=made.id, overlap_seconds=3_600, keyring=office.keyring, at=at, new_id=new_id
            )

        second = await by(office, "mia", rotate)
        third = await by(office, "mia", rotate)
        assert len({made.secret, second, third}) == 3
        now = office.clock.now()
        for at, valid in ((now, [third, second]), (now + timedelta(hours=1), [third])):
            async with office.database.read() as session:
                assert await read_secrets(session, [made.id], keyring=office.keyring, at=at) == {made.id: valid}
        assert (await last_event(office)).after == {"secret_rotated": True, "overlap_seconds": 3_600}

    @pytest.mark.parametrize("seconds", [-1, OVERLAP_SECONDS_MAX + 1])
    async def test_an_overlap_out_of_bounds(self, office: Office, seconds: int) -> None:
        made = await office.register(URL)

        async def rotate(session: WriteSession, actor: Actor) -> str:
            return await rotate_secret(
                session, actor, webhook_id=made.id, overlap_seconds=seconds, keyring=office.keyring,
                at=office.clock.now(), new_id=new_id,
            )  # fmt: skip

        with pytest.raises(InvalidOverlap):
            await by(office, "mia", rotate)
        assert await count(office, WebhookSecret) == 1

    async def test_paused_twice_is_recorded_once_and_so_is_resuming(self, office: Office) -> None:
        made = await office.register(URL)
        begun = await count(office, AuditEvent)
        for change, paused, events in (
            (resume_webhook, False, 0), (pause_webhook, True, 1), (pause_webhook, True, 1), (resume_webhook, False, 2),
        ):  # fmt: skip

            async def act(session: WriteSession, actor: Actor, change: Any = change) -> None:
                await change(session, actor, webhook_id=made.id, at=office.clock.now(), new_id=new_id)

            await by(office, "mia", act)
            assert ((await office.webhook(made.id)).paused_at is not None) == paused
            assert await count(office, AuditEvent) == begun + events

    async def test_deleted_takes_its_secrets_along(self, office: Office) -> None:
        made = await office.register(URL)

        async def delete(session: WriteSession, actor: Actor) -> None:
            await delete_webhook(session, actor, webhook_id=made.id, at=office.clock.now(), new_id=new_id)

        await by(office, "mia", delete)
        assert await count(office, Webhook) == await count(office, WebhookSecret) == 0
        assert (await last_event(office)).before is not None
        with pytest.raises(NotFound):
            await by(office, "mia", delete)

    @pytest.mark.parametrize(
        ("who", "team", "refusal"),
        [
            ("vera", "press", NotFound), ("nils", "press", NotFound), ("otto", None, NotFound), ("mia", None, NotFound),
        ],
    )  # fmt: skip
    async def test_not_that_of_others(
        self, office: Office, who: str, team: str | None, refusal: type[Exception]
    ) -> None:
        made = await office.register(URL, by="ada", team=team)

        async def pause(session: WriteSession, actor: Actor) -> None:
            await pause_webhook(session, actor, webhook_id=made.id, at=office.clock.now(), new_id=new_id)

        with pytest.raises(refusal):
            await by(office, who, pause)
        assert (await office.webhook(made.id)).paused_at is None

    async def test_deleted_while_somebody_waits_for_it(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        made = await office.register(URL)

        async def nothing(*_given: object) -> list[Webhook]:
            return []

        monkeypatch.setattr(webhooks, "lock_rows", nothing)
        with pytest.raises(NotFound):
            await by(office, "mia", lambda session, actor: lock_webhook(session, actor, made.id))


class TestEncryptSecretsAnew:
    async def test_under_the_current_key_alone_and_once(self, office: Office) -> None:
        made = await office.register(URL)
        keyring = add_key(office.settings.credentials_key_file)

        async def encrypt(session: WriteSession, actor: Actor) -> Any:
            return await encrypt_secrets_anew(session, actor, keyring=keyring, at=office.clock.now(), new_id=new_id)

        assert await by(office, "ada", encrypt) == [made.id]
        assert await by(office, "ada", encrypt) == []
        async with office.database.read() as session:
            assert (await session.scalars(select(WebhookSecret.key_name))).all() == [keyring.current]
            found = await read_secrets(session, [made.id], keyring=keyring, at=office.clock.now())
        assert found == {made.id: [made.secret]}
        assert (await last_event(office)).after == {"credentials_key": keyring.current}
