"""The artifact routes on the real server, on loopback: connections that break off are part of what is tested."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar
from litestar.datastructures import Headers, State
from litestar.types import HTTPScope

from guildhall.audit.outcomes import Conclusions
from guildhall.auth import standing
from guildhall.auth.actor import Actor
from guildhall.auth.narrowing import narrowed
from guildhall.auth.policies import Policies
from guildhall.auth.policy_reading import read_version
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tokens import TokenRefused
from guildhall.clock import new_id
from guildhall.db.kept_statements import KeptStatements
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Unauthenticated
from registry.access.jobs import JobInput, JobInputs
from registry.artifacts.bundles import BundleLimits
from registry.artifacts.owners import OwnerRef
from registry.artifacts.tickets import UploadTickets
from registry.http import readers
from registry.http.desk import STATE_KEY, ArtifactDesk
from registry.http.routes import ROUTES
from registry.minimisation.filtering import Minimiser
from tests.people import bind
from tests.registry.estate import PART_BYTES, Estate
from tests.registry.house import PEOPLE

START_SECONDS_MAX = 60
PATIENCE_SECONDS = 60
"""A machine that does much else at once answers late."""


@dataclass
class Site:
    """A running server. A caller is named in the Authorization header; `jobs` and their `inputs` are the test's own.

    The roles of the house are in the database, and count as they are there.
    """

    estate: Estate
    port: int
    tickets: UploadTickets
    policies: Policies
    state: State = field(default_factory=State)
    jobs: dict[str, Actor] = field(default_factory=dict)
    inputs: dict[tuple[UUID, UUID], JobInput] = field(default_factory=dict)
    openings: list[tuple[UUID, UUID, UUID | None]] = field(default_factory=list)
    gone: set[UUID] = field(default_factory=set)
    """Callers whose token was withdrawn."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def identify(self, scope: HTTPScope) -> Actor:
        name = Headers.from_scope(scope).get("authorization", "").removeprefix("Bearer ")
        if not name:
            raise Unauthenticated("Sign in first.")
        return await self.still(self.jobs.get(name) or self.estate.actor(name))

    async def still(self, actor: Actor) -> Actor:
        if actor.id in self.gone:
            raise TokenRefused("This token was withdrawn; ask for a new one.")
        async with self.estate.database.read() as session:
            version = await read_version(session)
        if version == actor.policy.version:
            return actor
        policy = await self.policies.at_version(version, at=self.estate.clock.now())
        limits = None if actor.token is None else actor.token.roles
        return replace(actor, policy=policy if limits is None else narrowed(policy, actor.subject, limits))

    async def find_input(self, _session: ReadSession, actor: Actor, owner: OwnerRef, /) -> JobInput | None:
        return self.inputs.get((actor.id, owner.id))

    async def note_opening(
        self, _session: WriteSession, actor: Actor, resource: ResourceRef, grant_id: UUID | None, /, **_given: Any
    ) -> None:
        self.openings.append((actor.id, resource.id, grant_id))

    def client(self, name: str | None = None, **headers: str) -> httpx.AsyncClient:
        token = {} if name is None else {"Authorization": f"Bearer {name}"}
        return httpx.AsyncClient(base_url=self.url, headers={**token, **headers}, timeout=PATIENCE_SECONDS)


@pytest.fixture
async def site(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    for limit in ("STILL_SECONDS_MAX", "HELD_SECONDS_MAX"):  # however slow the machine is
        monkeypatch.setattr(standing, limit, PATIENCE_SECONDS)
    monkeypatch.setattr(readers, "WAIT_SECONDS_MAX", PATIENCE_SECONDS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with estate.database.transaction() as session:
        for name, (team, role) in PEOPLE.items():
            if team is not None and role is not None:
                await bind(session, ActorKind.USER, estate.house.people[name], {role: [estate.house.teams[team]]})
    site = Site(estate, port, UploadTickets(b"k" * 32), Policies(estate.database))
    kept = KeptStatements(estate.database.url, connections_max=1, statement_seconds=PATIENCE_SECONDS)
    desk = ArtifactDesk(
        database=estate.database,
        store=estate.store,
        minimiser=Minimiser(estate.database, estate.store, estate.clock),
        tickets=site.tickets,
        conclusions=Conclusions(kept, estate.database.session_info),
        job_inputs=JobInputs(site.find_input, site.note_opening),
        clock=estate.clock,
        new_id=new_id,
        part_bytes=PART_BYTES,
        bundle_limits=BundleLimits(files_max=20, bytes_max=100_000),
        identify=site.identify,
        still=site.still,
    )
    app = Litestar(ROUTES, state=State({STATE_KEY: desk}), openapi_config=None, logging_config=None)
    site.state = app.state
    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            while not await is_listening(port):
                await asyncio.sleep(0.01)
        yield site
    finally:
        server.stop()  # type: ignore[no-untyped-call]  # granian has no types here
        await serving
        await desk.conclusions.flush()
        await kept.close()


async def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        return True
    return False
