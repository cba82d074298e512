"""A worker's connections follow the rows: made, made anew, closed; what cannot be connected says why."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, update

from guildhall.clock import new_id
from guildhall.errors import GuildhallError, Invalid
from guildhall.keys import Keyring
from scheduler.clusters.connections import ClusterAddress, ClusterConnections
from scheduler.clusters.executor import ClusterRefuses, Executor, Reason
from scheduler.clusters.fake import FakeCluster
from scheduler.clusters.installation import installation_id
from scheduler.clusters.kept_credentials import forget_credentials, keep_credentials
from scheduler.clusters.tables import Cluster, Installation
from tests.scheduler.yard import Yard

KEYRING = Keyring([b"k" * 32])


class Made:
    """What a worker connected to, in its order."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.addresses: list[ClusterAddress] = []
        self.clusters: list[FakeCluster] = []
        self.refusal: GuildhallError | None = None

    def connect(self, address: ClusterAddress) -> Executor:
        if self.refusal is not None:
            raise self.refusal
        self.addresses.append(address)
        self.clusters.append(FakeCluster(self.yard.clock))
        return self.clusters[-1]


@pytest.fixture
def made(yard: Yard) -> Made:
    return Made(yard)


@pytest.fixture
async def connections(yard: Yard, made: Made) -> AsyncIterator[ClusterConnections]:
    found = ClusterConnections({"local": yard.cluster}, made.connect, keyring=lambda: KEYRING, woken=lambda: None)
    yield found
    await found.close()


async def keep(yard: Yard, kubeconfig: str | None) -> None:
    async with yard.database.transaction() as session:
        cluster_id = await session.scalar(select(Cluster.id))
        assert cluster_id is not None
        await keep_credentials(session, cluster_id, kubeconfig, keyring=KEYRING, at=yard.clock.now())


async def follow(yard: Yard, connections: ClusterConnections) -> None:
    await connections.follow(yard.database, at=yard.clock.now(), new_id=new_id)


class TestFollow:
    async def test_connects_once_to_what_is_registered(
        self, yard: Yard, made: Made, connections: ClusterConnections
    ) -> None:
        await follow(yard, connections)
        assert set(connections) == {"local"}
        await keep(yard, "secret")
        await follow(yard, connections)
        await follow(yard, connections)
        assert (set(connections), len(connections)) == ({"local", "here"}, 2)
        (address,) = made.addresses
        assert (address.name, address.kubeconfig, address.requests_per_second) == ("here", "secret", 50)
        assert "secret" not in repr(address)
        assert connections["here"] is made.clusters[0]
        assert connections["local"] is yard.cluster

    async def test_connects_anew_when_something_changed(
        self, yard: Yard, made: Made, connections: ClusterConnections
    ) -> None:
        await keep(yard, "secret")
        await follow(yard, connections)
        await keep(yard, None)
        await follow(yard, connections)
        async with yard.database.transaction() as session:
            await session.execute(update(Cluster).values(requests_per_second=7))
        await follow(yard, connections)
        assert [address.kubeconfig for address in made.addresses] == ["secret", None, None]
        assert [address.requests_per_second for address in made.addresses] == [50, 50, 7]
        assert [cluster.closed for cluster in made.clusters] == [True, True, False]

    async def test_lets_go_of_what_is_gone_however_badly_it_closes(
        self, yard: Yard, made: Made, connections: ClusterConnections, caplog: pytest.LogCaptureFixture
    ) -> None:
        await keep(yard, "secret")
        await follow(yard, connections)

        async def fail() -> None:
            raise OSError("no")

        made.clusters[0].close = fail  # type: ignore[method-assign]
        async with yard.database.transaction() as session:
            await forget_credentials(session, (await session.scalars(select(Cluster.id))).one())
        await follow(yard, connections)
        assert set(connections) == {"local"}
        assert "did not close well" in caplog.text

    async def test_what_cannot_be_connected_refuses_with_its_sentence(
        self, yard: Yard, made: Made, connections: ClusterConnections
    ) -> None:
        made.refusal = Invalid("It has no token.")
        await keep(yard, "secret")
        await follow(yard, connections)
        executor = connections["here"]
        asked = [
            executor.machines(), executor.version(), executor.observe(), executor.knows("x"), executor.remove("x"),
            executor.stop("x", grace_seconds=1, reason=Reason("X", "x")), executor.logs("x", after=0, limit=1),
            executor.launch(None),  # type: ignore[arg-type]
        ]  # fmt: skip
        for question in asked:
            with pytest.raises(ClusterRefuses, match="It has no token"):
                await question

    async def test_without_a_way_to_connect_only_what_was_given(self, yard: Yard) -> None:
        connections = ClusterConnections({}, None, keyring=lambda: KEYRING, woken=lambda: None)
        await keep(yard, "secret")
        await follow(yard, connections)
        assert len(connections) == 0


class TestInstallation:
    async def test_is_made_once(self, yard: Yard) -> None:
        ids = {await installation_id(yard.database, at=yard.clock.now(), new_id=new_id) for _ in range(2)}
        assert ids == {str(row.id) for row in await yard.rows(Installation)}
        assert len(ids) == 1
