"""A real server with a worker and local jobs, and people who speak to it in the documents of the contract alone."""

import asyncio
import contextlib
import hashlib
import io
import socket
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from granian.constants import Interfaces
from granian.server.embed import Server
from graphql import OperationDefinitionNode, parse, print_ast

from guildhall.app import create_app
from guildhall.clock import SystemClock, new_id
from guildhall.db.transaction import Database
from guildhall.organisation.bootstrap import create_first_administrator
from guildhall.settings import Settings
from scheduler.clusters.local import LocalExecutor
from scheduler.worker import run_worker
from tests.streaming import events

CONTRACT = Path(__file__).parent / "DOCUMENTS.graphql"
READY_SECONDS_MAX = 120
JOB_SECONDS_MAX = 180

ISSUE_TOKEN = (
    "mutation ($input: IssueTokenInput!) { issueToken(input: $input) { secret errors { code field message } } }"
)


@cache
def contract() -> Mapping[str, str]:
    """The documents by name, each as text."""
    definitions = parse(CONTRACT.read_text(encoding="utf-8")).definitions
    return {
        definition.name.value: print_ast(definition)
        for definition in definitions
        if isinstance(definition, OperationDefinitionNode) and definition.name is not None
    }


class Refused(AssertionError):
    """An answer with errors where none were expected."""


@dataclass
class World:
    """People by name, what they made by name, and every document that has been sent."""

    url: str
    client: httpx.AsyncClient
    settings: Settings
    database: Database
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)

    async def post(self, who: str, text: str, variables: Mapping[str, Any]) -> Any:
        """The whole body of an answer."""
        answer = await self.client.post(
            f"{self.url}/graphql",
            json={"query": text, "variables": variables},
            headers={"authorization": f"Bearer {self.tokens[who]}"},
        )
        return answer.json()

    async def ask(self, who: str, document: str, **variables: Any) -> Any:
        """The data of a document of the contract; errors are a failure."""
        body = await self.post(who, contract()[document], variables)
        if "errors" in body:
            raise Refused(f"{document} by {who}: {body['errors']}")
        self.sent.add(document)
        return body["data"]

    async def follow(self, who: str, document: str, **variables: Any) -> list[Any]:
        """All that a subscription of the contract shows, to its end; errors are a failure."""
        async with events(self.url, self.tokens[who], contract()[document], variables) as stream:
            payloads = await stream.rest()
        if any("errors" in payload for payload in payloads):
            raise Refused(f"{document} by {who}: {payloads}")
        self.sent.add(document)
        return [payload["data"] for payload in payloads]

    async def change(self, who: str, document: str, **given: Any) -> Any:
        """The payload of a mutation of the contract; errors in it are a failure."""
        data = await self.ask(who, document, input=given)
        (payload,) = data.values()
        if payload["errors"]:
            raise Refused(f"{document} by {who}: {payload['errors']}")
        return payload

    async def refused(self, who: str, document: str, **given: Any) -> list[str]:
        """The codes of what is wrong with a mutation's input, or of what was refused outright."""
        body = await self.post(who, contract()[document], {"input": given})
        if "errors" in body:
            return [error["extensions"]["code"] for error in body["errors"]]
        (payload,) = body["data"].values()
        return [error["code"] for error in payload["errors"]]

    async def sign_in(self, name: str, email: str) -> None:
        """Give somebody a token; the contract has no document for that."""
        given = {"email": email, "label": "documents", "durationSeconds": 86_400}
        body = await self.post("pat", ISSUE_TOKEN, {"input": given})
        self.tokens[name] = body["data"]["issueToken"]["secret"]

    async def upload(self, who: str, payload: Any, contents: Mapping[str, bytes]) -> None:
        """Send files where the answer says, in parts of the size that it says."""
        for target in payload["uploads"]:
            content = contents[target["path"]]
            size = int(target["partSizeBytes"])
            headers = {header["name"]: header["value"] for header in target["headers"]}
            for number, start in enumerate(range(0, max(len(content), 1), size), start=1):
                answer = await self.client.request(
                    target["method"],
                    target["url"],
                    params={"part": number},
                    content=content[start : start + size],
                    headers=headers,
                )
                assert answer.is_success, answer.text

    async def until_ended(self, who: str, job: str) -> Any:
        """The page of a job that has ended."""
        ends_at = asyncio.get_running_loop().time() + JOB_SECONDS_MAX
        while True:
            page = (await self.ask(who, "JobPage", id=job))["node"]
            settled = page["charge"] is not None and page["charge"]["captured"] is not None
            if page["state"] in {"SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "EXPIRED"} and settled:
                return page
            assert asyncio.get_running_loop().time() < ends_at, page
            await asyncio.sleep(0.2)


@asynccontextmanager
async def running_world(database: Database, folder: Path) -> AsyncIterator[World]:
    """Everything that `python -m guildhall all` runs, in this event loop, on the database given."""
    bind = f"127.0.0.1:{_free_port()}"
    settings = Settings(data_dir=folder, database_url=database.url, bind=bind, worker_poll_milliseconds=50)
    clock, stop = SystemClock(), asyncio.Event()
    async with database.transaction() as session:
        token = await create_first_administrator(
            session, email="pat@example.org", name="Pat", at=clock.now(), new_id=new_id
        )
    server = Server(
        create_app(settings, database, clock),
        address=settings.bind_host,
        port=settings.bind_port,
        interface=Interfaces.ASGI,
        websockets=True,
        log_enabled=False,
    )
    executor = LocalExecutor(settings.data_dir / "jobs", hidden_folders=[settings.data_dir], new_id=new_id)
    serving = asyncio.create_task(server.serve())
    working = asyncio.create_task(run_worker(database, settings, clock, {"local": executor}, stop))
    async with httpx.AsyncClient(timeout=30) as client:
        world = World(f"http://{bind}", client, settings, database, tokens={"pat": token})
        await _until_ready(world)
        try:
            yield world
        finally:
            stop.set()
            await working
            server.stop()  # type: ignore[no-untyped-call]  # granian says nothing of it
            await serving


async def _until_ready(world: World) -> None:
    ends_at = asyncio.get_running_loop().time() + READY_SECONDS_MAX
    while True:
        with contextlib.suppress(httpx.TransportError):
            if (await world.client.get(f"{world.url}/readyz")).status_code == 200:
                return
        assert asyncio.get_running_loop().time() < ends_at, "the server is not ready"
        await asyncio.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def file_input(path: str, content: bytes) -> dict[str, Any]:
    """How an input names a file."""
    return {"path": path, "sizeBytes": str(len(content)), "sha256": hashlib.sha256(content).hexdigest()}


def archive(files: Mapping[str, str]) -> bytes:
    """A package: the folder with the script as a compressed archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            opened.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def this_year() -> tuple[str, str]:
    """The calendar year that it is, as [from, to)."""
    year = SystemClock().now().year
    return datetime(year, 1, 1, tzinfo=UTC).isoformat(), datetime(year + 1, 1, 1, tzinfo=UTC).isoformat()
