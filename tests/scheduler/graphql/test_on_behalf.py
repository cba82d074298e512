"""On whose behalf a job read data, as the auditor is told: also where a program submitted it."""

from datetime import timedelta

from sqlalchemy import insert

from guildhall.auth.actor import system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding, ServiceAccount
from guildhall.clock import new_id
from guildhall.graphql.ids import encode_id
from guildhall.organisation.tokens import issue_token
from tests.scheduler.graphql.test_jobs import ACCEPT, REQUEST, job_input, key_of
from tests.scheduler.site import Site
from tests.scheduler.yard import Yard

READS = """
query($id: ID!) { auditEvents(first: 10, filter: {resourceId: $id, action: {eq: "registry:dataset:read"}}) {
  nodes { outcome actor { __typename } onBehalfOf { __typename ... on ServiceAccount { name } } }
} }
"""


async def test_a_service_account_is_named(yard: Yard) -> None:
    site = await Site(yard).open()
    at, program = yard.clock.now(), new_id()
    bound = {"id": new_id(), "created_at": at}
    async with yard.database.transaction() as session:
        await session.execute(
            insert(ServiceAccount).values(id=program, name="ci", team_id=yard.teams["maintenance"], created_at=at)
        )
        await session.execute(
            insert(RoleBinding).values(
                subject_kind="SERVICE_ACCOUNT", subject_id=program, team_id=yard.teams["maintenance"],
                role="contributor", **bound,
            )
        )  # fmt: skip
        await session.execute(
            insert(RoleBinding).values(
                id=new_id(), subject_kind="USER", subject_id=yard.people["root"], team_id=None, role="auditor",
                created_at=at,
            )
        )  # fmt: skip
        issued = await issue_token(
            session, system_actor("tests"), subject_kind=ActorKind.SERVICE_ACCOUNT, subject_id=program, label="tests",
            expires_at=at + timedelta(days=1), at=at, new_id=new_id,
        )  # fmt: skip
    site.tokens["ci"] = issued.text
    await yard.grant()
    source = {"datasetVersionId": encode_id("DatasetVersion", yard.dataset_version_id)}
    job = job_input(yard, inputs=[{"source": source, "mountPath": "data", "purpose": "quality"}])
    asked = await site.ask("ci", REQUEST, input={"team": "maintenance", "programme": "zero", "job": job})
    accepted = await site.ask("ci", ACCEPT, input={"quoteId": asked["requestQuote"]["quote"]["id"]})
    await yard.cycle(1, times=2)
    runner = await site.runner(key_of(accepted["acceptQuote"]["job"]["id"]))
    (file,) = (await runner.post("inputs/0/open"))["files"]
    assert (await runner.download(file["url"])).status_code == 200
    data = await site.ask("root", READS, id=encode_id("Dataset", yard.dataset_id))
    assert data["auditEvents"]["nodes"] == [
        {
            "outcome": "COMPLETED",
            "actor": {"__typename": "Job"},
            "onBehalfOf": {"__typename": "ServiceAccount", "name": "ci"},
        }
    ]
    await site.client.aclose()
