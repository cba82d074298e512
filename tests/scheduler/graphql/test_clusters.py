"""Clusters as an administrator connects them, through the real application; the cluster itself is pretended."""

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import system_actor
from guildhall.clock import new_id
from guildhall.graphql.ids import encode_id
from guildhall.graphql.tables import IdempotencyKey
from guildhall.keys import add_key, load_keyring
from scheduler.clusters.fake import FakeCluster, FakeRun
from scheduler.clusters.kept_credentials import REGISTER, encrypt_anew, read_credentials
from scheduler.clusters.pool_settings import PoolSetting
from scheduler.clusters.probing import ClusterUnfit
from scheduler.clusters.tables import Cluster, ClusterCredentials, MachineRow, Pool
from scheduler.cycle import run_cycle
from scheduler.reconcile import visit_cluster
from tests.scheduler.site import Site
from tests.scheduler.test_configuration import apply
from tests.scheduler.yard import Yard, machine

JOBS_URL = "http://192.0.2.7:8321"
SECRET = "kind: Config  # token: very-secret"
CLUSTER = """
id name region kind state stateReason { code message } version requestsPerSecond jobsLostAfterSeconds lastSeenAt
carbonGramsPerKwh
nodes(first: 5) { nodes {
  name schedulable reason cpuMillis memoryBytes accelerators { resource allocatable foreign }
} }
pools { name capacity { total } }
"""


def document(name: str) -> str:
    kind = name[0].upper() + name[1:]
    return f"""mutation($input: {kind}Input!) {{
      {name}(input: $input) {{ cluster {{ {CLUSTER} }} errors {{ code field message }} }} }}"""


@pytest.fixture
async def site(yard: Yard) -> AsyncIterator[Site]:
    yard.settings = replace(yard.settings, jobs_url=JOBS_URL)
    opened = await Site(yard).open()
    yield opened
    await opened.client.aclose()


async def change(site: Site, mutation: str, **given: Any) -> Any:
    return (await site.ask("root", document(mutation), input=given))[mutation]


async def register(site: Site, **given: Any) -> Any:
    values = {"name": "gpu-eu", "region": "eu", "kubeconfig": SECRET, **given}
    return await change(site, "registerCluster", **values)


async def registered(site: Site, **given: Any) -> Mapping[str, Any]:
    answer = await register(site, **given)
    assert answer["errors"] == []
    cluster: Mapping[str, Any] = answer["cluster"]
    return cluster


def key_of(cluster: Mapping[str, Any]) -> UUID:
    return UUID(cluster["id"].rpartition("_")[2])


async def kept(site: Site) -> list[Any]:
    return await site.yard.rows(ClusterCredentials)


class TestRegisterCluster:
    async def test_is_ready_and_known_by_what_it_said(self, site: Site) -> None:
        cluster = await registered(site, carbonGramsPerKwh=300, requestsPerSecond=20, jobsLostAfterSeconds=3600)
        del cluster["id"]  # type: ignore[attr-defined]  # a dict, as JSON gives it
        assert cluster == {
            "name": "gpu-eu", "region": "eu", "kind": "KUBERNETES", "state": "READY", "stateReason": None,
            "version": "v1.37.1", "requestsPerSecond": 20, "jobsLostAfterSeconds": 3600,
            "lastSeenAt": "2026-03-02T08:00:00.000000Z", "carbonGramsPerKwh": 300, "nodes": {"nodes": []}, "pools": [],
        }  # fmt: skip
        assert site.prober.asked == [(SECRET, ["maintenance", "quality"])]

    async def test_nothing_holds_the_credentials_in_the_clear(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            answer = await site.answer(
                "root",
                document("registerCluster"),
                input={"name": "gpu-eu", "region": "eu", "kubeconfig": SECRET, "idempotencyKey": "once"},
            )
        assert "very-secret" not in str(answer)
        assert "very-secret" not in caplog.text
        (row,) = await kept(site)
        keyring = load_keyring(site.yard.settings.credentials_key_file)
        assert (row.kind, row.key_name, row.revision) == ("KUBECONFIG", keyring.current, 1)
        assert read_credentials(row, keyring) == SECRET
        async with site.yard.database.read() as session:
            tables = await session.scalars(
                text(
                    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                    "AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'alembic_version'"
                )
            )
            for table in tables.all():
                found = await session.scalar(text(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%very-secret%'"))
                assert found == 0, table
        (event,) = await site.yard.events(REGISTER)
        assert (event.actor_id, event.outcome) == (site.yard.people["root"], "ALLOWED")
        assert event.after is not None
        assert event.after["credentials"] == "KUBECONFIG"
        assert await site.yard.count(IdempotencyKey) == 1

    async def test_of_the_pod_that_we_run_in_nothing_is_kept(self, site: Site) -> None:
        await registered(site, kubeconfig=None, inCluster=True)
        (row,) = await kept(site)
        assert (row.kind, row.ciphertext, row.nonce, row.key_name) == ("IN_CLUSTER", None, None, None)
        assert site.prober.asked[0][0] is None

    @pytest.mark.parametrize(
        ("given", "code", "field"),
        [
            ({"kubeconfig": None}, "CREDENTIALS_AMBIGUOUS", "kubeconfig"),
            ({"inCluster": True}, "CREDENTIALS_AMBIGUOUS", "kubeconfig"),
            ({"name": "No Slug"}, "INVALID_SLUG", "name"),
            ({"region": " "}, "INVALID_INPUT", "region"),
            ({"carbonGramsPerKwh": -1}, "OUT_OF_RANGE", "carbonGramsPerKwh"),
            ({"requestsPerSecond": 0}, "OUT_OF_RANGE", "requestsPerSecond"),
            ({"jobsLostAfterSeconds": 0}, "OUT_OF_RANGE", "jobsLostAfterSeconds"),
            ({"name": "here"}, "CLUSTER_NAME_TAKEN", "name"),
        ],
    )
    async def test_mistakes_name_the_field_and_connect_nowhere(
        self, site: Site, given: dict[str, Any], code: str, field: str
    ) -> None:
        answer = await register(site, **given)
        assert [(error["code"], error["field"]) for error in answer["errors"]] == [(code, field)]
        assert answer["cluster"] is None
        assert site.prober.asked == []
        assert await site.yard.count(Cluster) == 1
        assert await kept(site) == []

    async def test_what_the_look_found_wrong_is_told_and_nothing_is_written(self, site: Site) -> None:
        site.prober.refusal = ClusterUnfit("CLOCK_OFF", "The clock is 60 minutes ahead of ours.")
        answer = await register(site)
        assert answer == {
            "cluster": None,
            "errors": [
                {"code": "CLOCK_OFF", "field": "kubeconfig", "message": "The clock is 60 minutes ahead of ours."}
            ],
        }
        assert await site.yard.count(Cluster) == 1
        assert await kept(site) == []

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost", "api.localhost."])
    async def test_jobs_are_not_sent_to_themselves(self, yard: Yard, host: str) -> None:
        yard.settings = replace(yard.settings, jobs_url=f"http://{host}:8321")
        site = await Site(yard).open()
        try:
            answer = await register(site)
        finally:
            await site.client.aclose()
        (error,) = answer["errors"]
        assert (error["code"], error["field"], answer["cluster"]) == ("JOBS_URL_UNREACHABLE", None, None)
        assert error["message"].startswith(
            f"Jobs would look for Guildhall at http://{host}:8321, which leads a pod to itself: set GUILDHALL_JOBS_URL"
        )
        assert site.prober.asked == []
        assert await yard.count(Cluster) == 1

    async def test_only_who_may_makes_us_connect(self, site: Site) -> None:
        for name, given in (
            ("registerCluster", {"name": "gpu-eu", "region": "eu", "kubeconfig": SECRET}),
            ("updateClusterCredentials", {"clusterId": encode_id("Cluster", UUID(int=1)), "kubeconfig": SECRET}),
            ("updateCluster", {"clusterId": encode_id("Cluster", UUID(int=1))}),
            ("unregisterCluster", {"clusterId": encode_id("Cluster", UUID(int=1))}),
        ):
            answer = await site.answer("anna", document(name), input=given)
            assert [error["extensions"]["code"] for error in answer["errors"]] == ["PERMISSION_REFUSED"]
        assert site.prober.asked == []
        assert await site.yard.count(Cluster) == 1
        refused = await site.yard.rows(AuditEvent, AuditEvent.action == REGISTER, AuditEvent.outcome == "REFUSED")
        assert len(refused) == 4

    async def test_the_same_kubernetes_has_one_name(self, site: Site) -> None:
        await registered(site)
        answer = await register(site, name="again")
        assert [(error["code"], error["message"]) for error in answer["errors"]] == [
            (
                "CLUSTER_REGISTERED_TWICE",
                (
                    "This Kubernetes is registered already, as gpu-eu: under two names its accelerators would be given "
                    "out twice."
                ),
            )
        ]
        site.prober.uid = "uid-2"
        assert [error["code"] for error in (await register(site))["errors"]] == ["CLUSTER_NAME_TAKEN"]
        assert len(await kept(site)) == 1


class TestUpdateClusterCredentials:
    async def test_replaces_them_and_tells_workers_by_a_revision(self, site: Site) -> None:
        cluster = await registered(site)
        answer = await change(site, "updateClusterCredentials", clusterId=cluster["id"], kubeconfig="kind: Config")
        assert answer["errors"] == []
        (row,) = await kept(site)
        keyring = load_keyring(site.yard.settings.credentials_key_file)
        assert (row.revision, read_credentials(row, keyring)) == (2, "kind: Config")

    async def test_asks_for_no_team_s_namespace(self, site: Site) -> None:
        cluster = await registered(site)
        await change(site, "updateClusterCredentials", clusterId=cluster["id"], kubeconfig="kind: Config")
        assert [(kubeconfig, bool(teams)) for kubeconfig, teams in site.prober.asked] == [
            (SECRET, True),
            ("kind: Config", False),
        ]

    async def test_leads_to_the_same_cluster(self, site: Site) -> None:
        cluster = await registered(site)
        site.prober.uid = "uid-2"
        answer = await change(site, "updateClusterCredentials", clusterId=cluster["id"], kubeconfig="kind: Config")
        assert [error["code"] for error in answer["errors"]] == ["ANOTHER_CLUSTER"]
        assert [row.revision for row in await kept(site)] == [1]

    async def test_of_a_cluster_that_is_none(self, site: Site) -> None:
        identity = encode_id("Cluster", UUID(int=1))
        for name, given in (("updateClusterCredentials", {"kubeconfig": SECRET}), ("unregisterCluster", {})):
            answer = await change(site, name, clusterId=identity, **given)
            assert [error["code"] for error in answer["errors"]] == ["UNKNOWN_CLUSTER"]

    async def test_under_another_key_nobody_connects_anew(self, site: Site) -> None:
        await registered(site)
        path = site.yard.settings.credentials_key_file
        keyring, operator, at = add_key(path), system_actor("operator"), site.yard.clock.now()
        async with site.yard.database.transaction() as session:
            assert len(await encrypt_anew(session, operator, keyring=keyring, at=at, new_id=new_id)) == 1
        async with site.yard.database.transaction() as session:
            assert await encrypt_anew(session, operator, keyring=keyring, at=at, new_id=new_id) == []
        event = (await site.yard.events(REGISTER))[-1]
        assert (event.actor_kind, event.after) == ("SYSTEM", {"credentials_key": keyring.current})
        (row,) = await kept(site)
        assert (row.revision, row.key_name) == (1, keyring.current)
        path.write_text(path.read_text().splitlines()[0])
        assert read_credentials(row, load_keyring(path)) == SECRET


class TestUpdateCluster:
    async def test_sets_the_rules(self, site: Site) -> None:
        cluster = await registered(site)
        answer = await change(
            site, "updateCluster", clusterId=cluster["id"], requestsPerSecond=7, jobsLostAfterSeconds=60
        )
        assert (answer["cluster"]["requestsPerSecond"], answer["cluster"]["jobsLostAfterSeconds"]) == (7, 60)
        answer = await change(site, "updateCluster", clusterId=cluster["id"], requestsPerSecond=0)
        assert [error["field"] for error in answer["errors"]] == ["requestsPerSecond"]
        events = await site.yard.events(REGISTER)
        assert events[-1].before == {"requests_per_second": 50, "jobs_lost_after_seconds": None}


class TestUnregisterCluster:
    async def test_its_pools_hold_nothing_and_admit_nobody(self, site: Site) -> None:
        cluster = await registered(site)
        yard = site.yard
        rented = FakeCluster(yard.clock, inventory=[machine("rented", 8)])
        await apply(yard, PoolSetting(name="rented", cluster="gpu-eu", accelerator="b200"))
        from_now = yard.context(executors={"here": yard.cluster, "gpu-eu": rented})
        await run_cycle(from_now)
        answer = await site.ask(
            "anna", "query($id: ID!) { node(id: $id) { ... on Cluster { " + CLUSTER + " } } }", id=cluster["id"]
        )
        assert answer["node"]["nodes"]["nodes"] == [
            {
                "name": "rented-1", "schedulable": True, "reason": None, "cpuMillis": "64000",
                "memoryBytes": "274877906944",
                "accelerators": [{"resource": "nvidia.com/gpu", "allocatable": 8, "foreign": 0}],
            }
        ]  # fmt: skip
        (pool,) = await yard.rows(Pool, Pool.name == "rented")
        assert (pool.slots, len(await yard.rows(MachineRow, MachineRow.cluster_id == key_of(cluster)))) == (8, 1)
        answer = await change(site, "unregisterCluster", clusterId=cluster["id"])
        assert answer["errors"] == []
        assert answer["cluster"]["state"] == "UNREGISTERED"
        assert answer["cluster"]["stateReason"]["code"] == "CLUSTER_UNREGISTERED"
        assert answer["cluster"]["nodes"] == {"nodes": []}
        assert answer["cluster"]["pools"] == [{"name": "rented", "capacity": {"total": 0}}]
        assert await kept(site) == []

    async def test_a_worker_that_is_late_does_not_bring_it_back(self, site: Site) -> None:
        """It read the list of clusters before, and takes the lease after."""
        cluster = await registered(site)
        yard = site.yard
        rented = FakeCluster(yard.clock, inventory=[machine("rented", 8)])
        (row,) = await yard.rows(Cluster, Cluster.id == key_of(cluster))
        await change(site, "unregisterCluster", clusterId=cluster["id"])
        await visit_cluster(yard.context(), row, rented)
        (row,) = await yard.rows(Cluster, Cluster.id == key_of(cluster))
        assert (row.state, row.lease_token) == ("UNREGISTERED", None)
        assert rented.calls == {}

    async def test_under_the_same_name_it_comes_back_as_what_it_was(self, site: Site) -> None:
        cluster = await registered(site)
        await change(site, "unregisterCluster", clusterId=cluster["id"])
        site.prober.uid = "uid-2"
        again = await registered(site, region="us")
        assert (again["id"], again["region"], again["state"]) == (cluster["id"], "us", "READY")
        (row,) = await kept(site)
        assert row.revision == 1

    async def test_not_while_a_job_is_there(self, site: Site) -> None:
        yard = site.yard
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        job_id = await yard.submit()
        await yard.cycle(1, times=2)
        async with yard.database.read() as session:
            here = await session.scalar(select(Cluster.id).where(Cluster.name == "here"))
        assert here is not None
        answer = await change(site, "unregisterCluster", clusterId=encode_id("Cluster", here))
        assert [error["code"] for error in answer["errors"]] == ["CLUSTER_IN_USE"]
        assert answer["errors"][0]["message"].startswith("1 job is still on the cluster here: let them end, or cancel")
        assert (await yard.job(job_id)).state == "RUNNING"
        await yard.cycle(600, times=2)
        answer = await change(site, "unregisterCluster", clusterId=encode_id("Cluster", here))
        assert answer["errors"] == []


class TestMetrics:
    async def test_tell_the_state_of_each_cluster(self, site: Site) -> None:
        site.yard.cluster.away = True
        await registered(site)
        await site.yard.cycle()
        text = (await site.client.get("/metrics")).text
        assert 'guildhall_cluster_state{cluster="gpu-eu",state="READY"} 1.0' in text
        assert 'guildhall_cluster_state{cluster="here",state="UNREACHABLE"} 1.0' in text
        site.yard.cluster.away = False
        await site.yard.cycle(1)
        text = (await site.client.get("/metrics")).text
        assert 'guildhall_cluster_state{cluster="here",state="READY"} 1.0' in text
        assert "UNREACHABLE" not in text
