"""The whole application on the module's database, asked over ASGI by callers with real tokens."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar.types import ASGIApp

from guildhall.app import create_app
from guildhall.auth.actor import system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.organisation.tokens import issue_token
from guildhall.settings import Settings
from tests.conftest import MONDAY_MORNING
from tests.people import make_team, make_user


@pytest.fixture(scope="module")
def module_clock() -> SimulatedClock:
    return SimulatedClock(MONDAY_MORNING)


@pytest.fixture(scope="module")
async def tokens(database: Database) -> dict[str, str]:
    """Ada governs the organisation, Otto audits it, Mia maintains in the team `press`, Nora belongs to no team."""
    texts = {}
    async with database.transaction() as session:
        press = await make_team(session, "press")
        people: dict[str, dict[str, list[UUID | None]]] = {
            "ada": {"administrator": [None]},
            "otto": {"auditor": [None]},
            "mia": {"maintainer": [press]},
            "nora": {},
        }
        for name, roles in people.items():
            key = await make_user(session, name, roles=roles)
            issued = await issue_token(
                session,
                system_actor("tests"),
                subject_kind=ActorKind.USER,
                subject_id=key,
                label="tests",
                expires_at=MONDAY_MORNING + timedelta(days=30),
                at=MONDAY_MORNING,
                new_id=new_id,
            )
            texts[name] = issued.text
    return texts


@pytest.fixture(scope="module")
def app_settings(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("data")
    return Settings(data_dir=folder, database_url=database.url)


@pytest.fixture(scope="module")
def app(database: Database, app_settings: Settings, module_clock: SimulatedClock) -> ASGIApp:
    return create_app(app_settings, database, module_clock)


@pytest.fixture
async def client(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # litestar has scopes of its own
    async with httpx.AsyncClient(transport=transport, base_url="http://guildhall.example") as opened:
        yield opened


class Asker:
    """Sends documents as one caller."""

    def __init__(self, client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
        self._client = client
        self._tokens = tokens

    async def __call__(self, who: str | None, document: str, **variables: Any) -> Any:
        headers = {} if who is None else {"authorization": f"Bearer {self._tokens[who]}"}
        body = {"query": document, "variables": variables}
        return (await self._client.post("/graphql", json=body, headers=headers)).json()


@pytest.fixture
def ask(client: httpx.AsyncClient, tokens: dict[str, str]) -> Asker:
    return Asker(client, tokens)
