"""Guildhall with an issuer, both without a network and at one simulated time."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.app import create_app
from guildhall.auth.actor import system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.http.signing_in import SignInDesk
from guildhall.organisation.groups import set_group_mapping
from guildhall.organisation.tokens import issue_token
from guildhall.settings import Settings
from tests.conftest import MONDAY_MORNING
from tests.fake_issuer import AUDIENCE, BROWSER_CLIENT, ISSUER, FakeIssuer
from tests.people import actor_of, make_service_account, make_team, make_user

SITE = AUDIENCE
VIEWER = "{ viewer { actor { ... on User { email } } memberships { roles } } }"
OWN = {"origin": SITE}


class House:
    """Guildhall with an issuer, both at one time; `settings` may differ from test to test."""

    def __init__(self, database: Database, folder: Path, **changed: Any) -> None:
        self.database = database
        self.clock = SimulatedClock(MONDAY_MORNING)
        self.issuer = FakeIssuer(MONDAY_MORNING)
        known = {"oidc_issuer": ISSUER, "oidc_client_id": BROWSER_CLIENT, "oidc_cli_client_id": "guildhall-cli"}
        self.settings = Settings(data_dir=folder, database_url=database.url, **{"public_url": SITE, **known, **changed})
        self.app: Any = create_app(self.settings, database, self.clock, issuer_transport=self.issuer.transport)

    def browser(self, address: str = "192.0.2.1") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app, client=(address, 4711))
        return httpx.AsyncClient(transport=transport, base_url=SITE, headers={"user-agent": "A browser"})

    def signing_in(self) -> SignInDesk:
        """As another process of the house has it."""
        return SignInDesk.from_settings(
            self.settings, self.database, self.clock, new_id, key=bytes(32), transport=self.issuer.transport
        )

    def later(self, **duration: float) -> None:
        step = timedelta(**duration)
        self.clock.advance(step)
        self.issuer.at += step

    def answer_with(self, name: str = "ada", **changed: Any) -> None:
        """What the issuer's token endpoint says from now on."""
        self.issuer.answers["/token"] = {
            "id_token": self.issuer.identity_token(name, **changed), "refresh_token": "refresh", "expires_in": 300,
        }  # fmt: skip

    async def sign_in(
        self, browser: httpx.AsyncClient, name: str = "ada", path: str = "/", **changed: Any
    ) -> httpx.Response:
        begun = await browser.get("/auth/login", params={"next": path})
        assert begun.status_code == 303, begun.text
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        self.answer_with(name, nonce=asked["nonce"][0], **changed)
        return await browser.get("/auth/callback", params={"state": asked["state"][0], "code": "c", "iss": ISSUER})

    async def token_of(self, name: str) -> str:
        async with self.database.transaction() as session:
            return await self._issue(session, ActorKind.USER, await make_user(session, name))

    async def token_of_program(self, name: str) -> str:
        async with self.database.transaction() as session:
            team = await make_team(session, f"team-{new_id().hex[-8:]}")
            key = await make_service_account(session, name, team)
            return await self._issue(session, ActorKind.SERVICE_ACCOUNT, key)

    async def _issue(self, session: AsyncSession, kind: ActorKind, key: UUID) -> str:
        issued = await issue_token(
            session, system_actor("tests"), subject_kind=kind, subject_id=key, label="tests",
            expires_at=MONDAY_MORNING + timedelta(days=30), at=MONDAY_MORNING, new_id=new_id,
        )  # fmt: skip
        return issued.text


async def ask(browser: httpx.AsyncClient, document: str = VIEWER, **headers: str) -> tuple[int, Any]:
    answer = await browser.post("/graphql", json={"query": document}, headers=headers)
    body = answer.json()
    if "errors" in body:
        return answer.status_code, body["errors"][0]["extensions"]["code"]
    viewer = body["data"]["viewer"]
    if "actor" not in viewer:
        return answer.status_code, viewer
    return answer.status_code, (viewer["actor"]["email"], [entry["roles"] for entry in viewer["memberships"]])


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


async def opened_house(database: Database, folder: Path) -> House:
    """Root governs; who is in the issuer's group `printers` maintains in the team `press`."""
    made = House(database, folder)
    async with database.transaction() as session:
        await make_team(session, "press")
        root = await actor_of(session, await make_user(session, "root", roles={"administrator": [None]}))
        await set_group_mapping(
            session, root, group="printers", team="press", role="maintainer", at=MONDAY_MORNING, new_id=new_id
        )
    return made
