"""An organisation whose messages leave: teams, people, webhooks, and dispatchers on a simulated clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.inbox.dispatching import Dispatcher
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.tables import Delivery, InboxEvent, Webhook
from guildhall.inbox.telling import tell
from guildhall.inbox.webhook_posting import opened_client
from guildhall.inbox.webhooks import RegisteredWebhook, WebhookSpec, register_webhook
from guildhall.keys import load_keyring
from guildhall.setting_values import networks
from guildhall.settings import Settings
from tests.conftest import MONDAY_MORNING
from tests.people import actor_of, make_team, make_user

LOOPBACK = networks("127.0.0.0/8")
PATIENT_SECONDS = 120.0
FACTS = {"job": "train", "state": "FAILED", "message": "it ended with exit code 1", "captured": "2"}


async def settled(dispatcher: Dispatcher) -> None:
    """What it has under way is over; raises what ended it."""
    mailing = [] if dispatcher._mailing is None else [dispatcher._mailing]
    await asyncio.gather(*dispatcher._posting, *mailing)


class Killed(BaseException):
    """What a fault point raises: the end of the process, as far as it goes within one."""


class Office:
    """Mia maintains `press`, Vera sees it; Nils maintains `sales`; Ada governs, Otto audits. All have an inbox."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.clock = SimulatedClock(MONDAY_MORNING)
        self.settings = Settings(data_dir=folder, database_url=database.url, webhook_networks=LOOPBACK)
        self.keyring = load_keyring(self.settings.credentials_key_file)
        self.teams: dict[str, UUID] = {}
        self.people: dict[str, UUID] = {}

    async def furnish(self) -> "Office":
        async with self.database.transaction() as session:
            for team in ("press", "sales"):
                self.teams[team] = await make_team(session, team)
            roles: dict[str, dict[str, Sequence[UUID | None]]] = {
                "mia": {"maintainer": [self.teams["press"]]},
                "vera": {"viewer": [self.teams["press"]]},
                "nils": {"maintainer": [self.teams["sales"]]},
                "ada": {"administrator": [None]},
                "otto": {"auditor": [None]},
            }
            for name, held in roles.items():
                self.people[name] = await make_user(session, name, roles=held)
        return self

    async def with_steward(self) -> "Office":
        """Sten maintains `press` as well, and is its steward."""
        async with self.database.transaction() as session:
            roles = {"maintainer": [self.teams["press"]], "steward": [self.teams["press"]]}
            self.people["sten"] = await make_user(session, "sten", roles=roles)
        return self

    def with_settings(self, **changed: Any) -> "Office":
        self.settings = replace(self.settings, **changed)
        return self

    async def actor(self, name: str) -> Actor:
        async with self.database.read() as session:
            return await actor_of(session, self.people[name])

    async def register(
        self,
        url: str,
        *,
        by: str = "mia",
        team: str | None = "press",
        kinds: Collection[EventKind] = (EventKind.JOB_ENDED,),
    ) -> RegisteredWebhook:
        actor = await self.actor(by)
        async with self.database.transaction() as session:
            return await register_webhook(
                session, actor, WebhookSpec(label="chat", url=url, kinds=kinds),
                team_id=None if team is None else self.teams[team], keyring=self.keyring, at=self.clock.now(),
                new_id=new_id,
            )  # fmt: skip

    async def tell(
        self, *recipients: str, kind: EventKind = EventKind.JOB_ENDED, team: str | None = "press", **facts: Any
    ) -> UUID:
        """An event; its id."""
        subject = new_id()
        async with self.database.transaction() as session:
            await tell(
                session, kind, subject=ResourceRef("Job", subject),
                team_id=None if team is None else self.teams[team],
                recipients=[self.people[each] for each in recipients], facts=FACTS | facts, at=self.clock.now(),
                new_id=new_id,
            )  # fmt: skip
            found = select(InboxEvent.id).where(InboxEvent.subject_id == subject)
            return (await session.scalars(found)).one()

    @asynccontextmanager
    async def dispatcher(
        self,
        *,
        owner: str = "worker",
        reach: Callable[[str], None] = lambda _: None,
        answer_seconds: float = PATIENT_SECONDS,
        **given: Any,
    ) -> AsyncIterator[Dispatcher]:
        """A worker's; what it has under way ends with it."""
        async with opened_client(self.settings.webhook_networks, answer_seconds=answer_seconds) as client:
            dispatcher = Dispatcher(
                database=self.database, settings=self.settings, clock=self.clock, new_id=new_id, owner=owner,
                client=client, jitter=lambda: 0.0, reach=reach, **given,
            )  # fmt: skip
            try:
                yield dispatcher
            finally:
                await dispatcher.close()

    async def send(self, **given: Any) -> None:
        """Two rounds of one worker, each to its end: what an event makes, and what is due then."""
        async with self.dispatcher(**given) as dispatcher:
            for _ in range(2):
                await dispatcher.begin_round()
                await settled(dispatcher)

    async def deliveries(self) -> Sequence[Delivery]:
        async with self.database.read() as session:
            return (await session.scalars(select(Delivery).order_by(Delivery.id))).all()

    async def delivery(self) -> Delivery:
        """The only one."""
        (found,) = await self.deliveries()
        return found

    async def webhook(self, key: UUID) -> Webhook:
        async with self.database.read() as session:
            return await session.get_one(Webhook, key)
