"""What a job's token reaches through the API: a script may come to hold it, so next to nothing."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from guildhall.audit.tables import AuditEvent
from guildhall.auth.tables import Token
from guildhall.clock import new_id
from guildhall.graphql.ids import encode_id
from registry.artifacts.tables import Package
from registry.models.tables import ModelVersion
from tests.scheduler.site import Site
from tests.scheduler.yard import Yard

NODE = "query($id: ID!) { node(id: $id) { __typename id } }"
ISSUE = 'mutation { issueToken(input: {label: "more", durationSeconds: 60}) { secret } }'
ADD_VERSION = "mutation($id: ID!) { createModelVersion(input: {modelId: $id, files: []}) { errors { code } } }"
LISTS = (
    "teams", "users", "auditEvents", "accessRequests", "accessGrants", "datasets", "models", "programmes", "periods",
    "priceLists", "financeReport", "pools", "clusters", "jobs",
)  # fmt: skip


class JobSite(Site):
    """The application, with a running job that speaks as "job"."""

    job_id: UUID

    async def start_job(self) -> None:
        self.job_id = await self.yard.submit(self.yard.spec(output=self.yard.output()))
        await self.yard.cycle(1, times=2)
        runner = await self.runner(self.job_id)
        self.tokens["job"] = runner.headers["authorization"].removeprefix("Bearer ")

    async def node(self, kind: str, key: UUID) -> Any:
        return (await self.ask("job", NODE, id=encode_id(kind, key)))["node"]


@pytest.fixture
async def site(yard: Yard) -> AsyncIterator[JobSite]:
    opened = JobSite(yard)
    await opened.open()
    await opened.start_job()
    yield opened
    await opened.client.aclose()


class TestReading:
    async def test_who_it_is(self, site: JobSite) -> None:
        data = await site.ask("job", "{ viewer { actor { __typename ... on Job { id state } } } }")
        assert data["viewer"]["actor"] == {
            "__typename": "Job", "id": encode_id("Job", site.job_id), "state": "RUNNING"
        }  # fmt: skip

    @pytest.mark.parametrize("name", LISTS)
    async def test_no_list(self, site: JobSite, name: str) -> None:
        answer = await site.answer("job", f"{{ {name}(first: 5) {{ nodes {{ __typename }} }} }}")
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN"]
        assert answer["data"] == {name: None}

    async def test_no_node_but_itself(self, site: JobSite) -> None:
        yard = site.yard
        another, at = new_id(), yard.clock.now()
        async with yard.database.transaction() as session:
            await session.execute(
                insert(Package).values(
                    id=another, team_id=yard.teams["maintenance"], sha256="0" * 64, size_bytes=3, state="READY",
                    ready_at=at, created_at=at, created_by=yard.people["anna"],
                )
            )  # fmt: skip
        for kind, key in (
            ("Package", another),
            ("Package", yard.package_id),
            ("Dataset", yard.dataset_id),
            ("DatasetVersion", yard.dataset_version_id),
            ("Model", yard.model_id),
            ("Team", yard.teams["maintenance"]),
            ("User", yard.people["anna"]),
            ("Pool", await yard.pool_id("small")),
        ):
            assert await site.node(kind, key) is None, kind
        assert await site.node("Job", site.job_id) is not None
        assert (await site.ask("anna", NODE, id=encode_id("User", yard.people["vera"])))["node"] is not None


class TestChanging:
    async def test_it_makes_itself_no_other_token(self, site: JobSite) -> None:
        before = await site.yard.count(Token)
        answer = await site.answer("job", ISSUE)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["PERMISSION_REFUSED"]
        assert await site.yard.count(Token) == before
        (refusal,) = await site.yard.rows(
            AuditEvent, AuditEvent.action == "guildhall:token:issue", AuditEvent.outcome == "REFUSED"
        )
        assert (refusal.actor_kind, refusal.resource_ids) == ("JOB", [site.job_id])

    async def test_it_adds_no_version_beside_its_output(self, site: JobSite) -> None:
        before = await site.yard.count(ModelVersion)
        data = await site.ask("job", ADD_VERSION, id=encode_id("Model", site.yard.model_id))
        assert data["createModelVersion"]["errors"] == [{"code": "NOT_FOUND"}]
        assert await site.yard.count(ModelVersion) == before
