"""A real server on a real port, and programs of other people that are run against it."""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from guildhall.app import create_app
from guildhall.auth.actor import system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.clock import SystemClock, new_id
from guildhall.db.transaction import Database
from guildhall.organisation.tokens import issue_token
from guildhall.settings import Settings
from tests.people import make_team, make_user

FOLDER = Path(__file__).parent
READY_SECONDS_MAX = 120
PROGRAM_SECONDS_MAX = 120

Run = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Live:
    """Where the server is, and the token of somebody who maintains in the team `press`."""

    url: str
    token: str
    settings: Settings


@asynccontextmanager
async def live_server(database: Database, folder: Path, *, team: str = "press", **changed: Any) -> AsyncIterator[Live]:
    """Everything that `python -m guildhall api` runs, in this event loop, with two teams in the database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = Settings(data_dir=folder, database_url=database.url, bind=f"127.0.0.1:{port}", **changed)
    clock = SystemClock()
    async with database.transaction() as session:
        name = f"{team}-reader"
        press = await make_team(session, team)
        await make_team(session, f"{team}-two")
        key = await make_user(session, name, roles={"maintainer": [press]})
        issued = await issue_token(
            session,
            system_actor("tests"),
            subject_kind=ActorKind.USER,
            subject_id=key,
            label="tests",
            expires_at=clock.now() + timedelta(hours=1),
            at=clock.now(),
            new_id=new_id,
        )
    app = create_app(settings, database, clock)
    server = Server(
        app,
        address=settings.bind_host,
        port=settings.bind_port,
        interface=Interfaces.ASGI,
        websockets=True,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    try:
        await _until_ready(f"http://{settings.bind}/readyz")
        yield Live(f"http://{settings.bind}/graphql", issued.text, settings)
    finally:
        await app.end_streams()
        server.stop()  # type: ignore[no-untyped-call]  # granian says nothing of it
        await serving


async def _until_ready(url: str) -> None:
    ends_at = asyncio.get_running_loop().time() + READY_SECONDS_MAX
    async with httpx.AsyncClient() as client:
        while True:
            with suppress(httpx.TransportError):
                if (await client.get(url)).status_code == 200:
                    return
            assert asyncio.get_running_loop().time() < ends_at, "the server is not ready"
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
async def live(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    async with live_server(database, tmp_path_factory.mktemp("live")) as running:
        yield running


async def output_of(program: str, *arguments: str, cwd: Path = FOLDER, **environment: str) -> str:
    """What a program writes; its failure is one of the test."""
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        async with asyncio.timeout(PROGRAM_SECONDS_MAX):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, f"{program} {arguments}: {out.decode()}\n{err.decode()}"
    return out.decode()


@pytest.fixture(scope="session")
def node() -> Run:
    """Run one of the scripts beside this file and read the JSON that it writes."""
    if shutil.which("node") is None or not (FOLDER / "node_modules").exists():
        missing = "node and npm are needed for these: `make client-programs` installs what they run"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)

    async def run(script: str, *arguments: str) -> Any:
        return json.loads(await output_of("node", script, *arguments))

    return run
