"""The namespace of a team on a real API server: made once, looked at again, refused where it is another's."""

from dataclasses import replace

import pytest

from guildhall.clock import SimulatedClock
from scheduler.clusters.executor import Launch, LaunchRefused
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.failures import ObjectExists, ObjectMissing
from scheduler.clusters.kubernetes.manifests import CLOSED_POLICY
from scheduler.clusters.kubernetes.naming import TEAM, Installation
from scheduler.clusters.kubernetes.resources import NAMESPACES, NETWORK_POLICIES, KubernetesObject, Resource
from scheduler.clusters.kubernetes.team_namespace import LOOKED_AT_EVERY, TeamNamespaces, api_addresses
from tests.scheduler.clusters.kubernetes.accounts import new_namespace
from tests.scheduler.clusters.kubernetes.shapes import BEGAN, LAUNCH


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(BEGAN)


def namespaces(api: KubernetesApi, installation: Installation, clock: SimulatedClock, *networks: str) -> TeamNamespaces:
    return TeamNamespaces(api, installation, api_networks=networks, clock=clock)


async def reached(api: KubernetesApi, namespace: str) -> list[str]:
    """The addresses that the closed policy lets out to our API."""
    policy = await api.get(NETWORK_POLICIES, CLOSED_POLICY, namespace=namespace)
    return [to["ipBlock"]["cidr"] for rule in policy["spec"]["egress"] for to in rule["to"] if "ipBlock" in to]


async def test_it_is_made_with_its_closed_network(
    api: KubernetesApi, installation: Installation, clock: SimulatedClock
) -> None:
    await namespaces(api, installation, clock, "192.0.2.0/24").ensure(LAUNCH)
    name = installation.namespace(LAUNCH.team)
    made = await api.get(NAMESPACES, name)
    assert made["metadata"]["labels"].items() >= {**installation.labels, TEAM: LAUNCH.team}.items()
    assert await reached(api, name) == ["192.0.2.0/24"]


async def test_what_is_known_is_looked_at_again_when_it_is_doubted_or_old(
    api: KubernetesApi, installation: Installation, clock: SimulatedClock
) -> None:
    known = namespaces(api, installation, clock)
    name = installation.namespace(LAUNCH.team)
    await known.ensure(LAUNCH)
    for look_again in (lambda: known.doubt(LAUNCH.team), lambda: clock.advance(LOOKED_AT_EVERY)):
        await api.delete(NETWORK_POLICIES, CLOSED_POLICY, namespace=name)
        await known.ensure(LAUNCH)
        with pytest.raises(ObjectMissing):
            await api.get(NETWORK_POLICIES, CLOSED_POLICY, namespace=name)
        look_again()
        await known.ensure(LAUNCH)
        assert await reached(api, name) == ["10.0.0.7/32"]


async def test_one_of_somebody_else_is_refused(
    api: KubernetesApi, installation: Installation, clock: SimulatedClock
) -> None:
    name = await new_namespace(api, installation.namespace(LAUNCH.team), **{TEAM: "another"})
    with pytest.raises(LaunchRefused, match=f"the namespace {name} exists on the cluster and is not ours") as refusal:
        await namespaces(api, installation, clock).ensure(LAUNCH)
    assert refusal.value.code == "NAMESPACE_TAKEN"
    with pytest.raises(ObjectMissing):
        await api.get(NETWORK_POLICIES, CLOSED_POLICY, namespace=name)


async def test_another_worker_may_be_quicker(
    api: KubernetesApi, installation: Installation, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = api.create

    async def second(resource: Resource, body: KubernetesObject) -> KubernetesObject:
        await create(resource, body)
        with pytest.raises(ObjectExists):
            await create(resource, body)
        return await create(resource, body)

    monkeypatch.setattr(api, "create", second)
    await namespaces(api, installation, clock).ensure(LAUNCH)
    assert await reached(api, installation.namespace(LAUNCH.team)) == ["10.0.0.7/32"]


class TestApiAddresses:
    async def test_an_address_is_taken_as_it_is(self) -> None:
        assert await api_addresses("https://10.0.0.7:8443") == ["10.0.0.7/32"]

    async def test_a_name_is_looked_up(self) -> None:
        assert set(await api_addresses("http://localhost:8000")) <= {"127.0.0.1/32", "::1/128"}

    async def test_a_name_without_an_address_refuses_the_launch(
        self, api: KubernetesApi, installation: Installation, clock: SimulatedClock
    ) -> None:
        launch: Launch = replace(LAUNCH, api_url="https://guildhall.invalid")
        with pytest.raises(LaunchRefused, match=r"address https://guildhall\.invalid has no address") as refusal:
            await namespaces(api, installation, clock).ensure(launch)
        assert refusal.value.code == "API_URL_UNKNOWN"
