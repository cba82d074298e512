"""The whole application on a yard's database, asked over ASGI by people and by runners with real tokens."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from sqlalchemy import insert

from guildhall.app import create_app
from guildhall.auth.actor import system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding
from guildhall.clock import new_id
from guildhall.organisation.tokens import issue_token
from registry.artifacts.completing import blob_key
from registry.storage import ArtifactStore
from scheduler.clusters.probing import ClusterUnfit, ProbedCluster
from tests.scheduler.yard import PEOPLE, Yard

DIGITS = b"abc"
"""The one file of the yard's data set, and of its package."""


class FakeProber:
    """Answers for clusters as told: `uid` is which one it is, `refusal` what is wrong with it."""

    def __init__(self) -> None:
        self.uid = "uid-1"
        self.refusal: ClusterUnfit | None = None
        self.asked: list[tuple[str | None, Sequence[str]]] = []

    async def probe(
        self, kubeconfig: str | None, *, requests_per_second: int, installation_id: str, teams: Sequence[str]
    ) -> ProbedCluster:
        self.asked.append((kubeconfig, teams))
        if self.refusal is not None:
            raise self.refusal
        return ProbedCluster(uid=self.uid, version="v1.37.1")


class Site:
    """The application; `tokens` by person."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.prober = FakeProber()
        self.app = create_app(yard.settings, yard.database, yard.clock, prober=self.prober)
        transport = httpx.ASGITransport(app=self.app)  # type: ignore[arg-type]  # litestar types its own scopes
        self.client = httpx.AsyncClient(transport=transport, base_url=yard.settings.public_url)
        self.tokens: dict[str, str] = {}

    async def open(self) -> "Site":
        at = self.yard.clock.now()
        store = ArtifactStore.open(self.yard.settings.artifacts_url)
        await store.write(blob_key(hashlib.sha256(DIGITS).hexdigest()), _chunks(DIGITS))
        async with self.yard.database.transaction() as session:
            for name, (team, role) in PEOPLE.items():
                await session.execute(
                    insert(RoleBinding).values(
                        id=new_id(), subject_kind="USER", subject_id=self.yard.people[name],
                        team_id=None if team is None else self.yard.teams[team], role=role, created_at=at,
                    )
                )  # fmt: skip
            for name in PEOPLE:
                issued = await issue_token(
                    session, system_actor("tests"), subject_kind=ActorKind.USER, subject_id=self.yard.people[name],
                    label="tests", expires_at=at + timedelta(days=30), at=at, new_id=new_id,
                )  # fmt: skip
                self.tokens[name] = issued.text
        return self

    async def ask(self, who: str, document: str, **variables: Any) -> Any:
        """The data of a document that goes through without errors."""
        answer = await self.answer(who, document, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def answer(self, who: str, document: str, **variables: Any) -> Any:
        response = await self.client.post(
            "/graphql",
            json={"query": document, "variables": variables},
            headers={"authorization": f"Bearer {self.tokens[who]}"},
        )
        return response.json()

    async def runner(self, job_id: UUID) -> "Runner":
        """The runner of the job's attempt, with the token that its launch got."""
        attempt = await self.yard.attempt(job_id)
        return Runner(self.client, self.yard.cluster.launches[attempt.name].token)


class Runner:
    """Speaks as the zipapp does."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self.client = client
        self.headers = {"authorization": f"Bearer {token}"}

    async def get(self, path: str) -> Any:
        return self._good(await self.client.get(f"/runner/v1/{path}", headers=self.headers))

    async def post(self, path: str, body: Any = None) -> Any:
        return self._good(await self.send(path, body))

    async def send(self, path: str, body: Any = None) -> httpx.Response:
        return await self.client.post(f"/runner/v1/{path}", json=body or {}, headers=self.headers)

    async def refused(self, path: str, body: Any = None) -> tuple[int, str, str]:
        """Status, code and sentence."""
        response = await self.send(path, body)
        error = response.json()["error"]
        return response.status_code, error["code"], error["message"]

    async def make_output(self, content: bytes = b"weights") -> str:
        """Register, upload and complete a file; the id of the version."""
        digest = hashlib.sha256(content).hexdigest()
        files = [{"path": "model.bin", "sizeBytes": len(content), "sha256": digest}]
        answer = await self.post("outputs", {"files": files, "metrics": [], "parameters": {}, "card": {}})
        for upload in answer["uploads"]:
            await self.upload(upload, content)
        assert await self.post("outputs/complete") == {"missing": []}
        version_id: str = answer["modelVersionId"]
        return version_id

    async def download(self, url: str) -> httpx.Response:
        return await self.client.get(urlsplit(url).path, headers=self.headers)

    async def upload(self, upload: dict[str, Any], content: bytes) -> None:
        headers = {header["name"]: header["value"] for header in upload["headers"]}
        response = await self.client.put(f"{urlsplit(upload['url']).path}?part=1", content=content, headers=headers)
        assert response.status_code == 200, response.text

    @staticmethod
    def _good(response: httpx.Response) -> Any:
        assert response.status_code == 200, response.text
        return response.json()


async def _chunks(content: bytes) -> Any:
    yield content


def report(sequence: int, **given: Any) -> dict[str, Any]:
    """A batch as the runner numbers it."""
    return {"sequence": sequence, "logs": [], "metrics": [], "parameters": {}, "progress": None, **given}


def line(text: str, seq: int = 1) -> dict[str, Any]:
    return {"seq": seq, "at": "2026-03-02T08:00:01+00:00", "stream": "stdout", "text": text}


ENVIRONMENT = {"environment": {"python": "3.11.9", "platform": "linux-x86_64", "packages": {"numpy": "2.1"}}}
