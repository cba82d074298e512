"""The executors of one worker: those that it was given, and one for each registered cluster, as its row says now."""

# ruff: noqa: ARG002 -- who cannot be connected refuses whatever it is asked
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Never
from uuid import UUID

from sqlalchemy import select

from guildhall.clock import IdSource
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError
from guildhall.keys import Keyring
from scheduler.clusters.executor import ClusterRefuses, Executor, Launch, LogLine, Machine, Observation, Reason
from scheduler.clusters.installation import installation_id
from scheduler.clusters.kept_credentials import read_credentials
from scheduler.clusters.tables import Cluster, ClusterCredentials

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ClusterAddress:
    """What it takes to connect to a registered cluster; without a kubeconfig it is the one that we run in.

    `woken` may be called when the cluster has something to say. The requests are those of all workers together, and
    `sharers` says how many these are (None: not known now, so that nothing may be sent).
    """

    name: str
    kubeconfig: str | None = field(repr=False)
    requests_per_second: int
    installation_id: str
    woken: Callable[[], None]
    sharers: Callable[[], int | None]


Connect = Callable[[ClusterAddress], Executor]
"""Makes an executor and sends nothing yet; may raise a GuildhallError, whose sentence the cluster's state then says."""


class ClusterConnections(Mapping[str, Executor]):
    """By the cluster's name; those given by name, or by kind in lower case.

    `follow` before each cycle makes them what the rows say: a cluster with new credentials is connected anew, one that
    was let go of is closed.
    """

    def __init__(
        self,
        given: Mapping[str, Executor],
        connect: Connect | None,
        *,
        keyring: Callable[[], Keyring],
        woken: Callable[[], None],
        sharers: Callable[[], int | None] = lambda: 1,
    ) -> None:
        self._given = given
        self._connect = connect
        self._keyring = keyring
        self._woken = woken
        self._sharers = sharers
        self._made: dict[str, Executor] = {}
        self._versions: dict[str, tuple[UUID, int, int]] = {}

    def __getitem__(self, name: str) -> Executor:
        return self._given[name] if name in self._given else self._made[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._given
        yield from self._made

    def __len__(self) -> int:
        return len(self._given) + len(self._made)

    async def follow(self, database: Database, *, at: datetime, new_id: IdSource) -> None:
        """Connect, connect anew and close, as the rows say."""
        if self._connect is None:
            return
        statement = select(Cluster, ClusterCredentials).join(
            ClusterCredentials, ClusterCredentials.cluster_id == Cluster.id
        )
        async with database.read() as session:
            rows = {cluster.name: (cluster, kept) for cluster, kept in await session.execute(statement)}
        versions = {
            name: (cluster.id, kept.revision, cluster.requests_per_second) for name, (cluster, kept) in rows.items()
        }
        for name in [name for name, version in self._versions.items() if versions.get(name) != version]:
            await self._let_go(name)
        new = sorted(versions.keys() - self._versions.keys())
        if not new:
            return
        ours = await installation_id(database, at=at, new_id=new_id)
        for name in new:
            self._made[name] = self._connected(self._connect, *rows[name], ours)
            self._versions[name] = versions[name]

    async def close(self) -> None:
        """Close what was made here; those given belong to whoever gave them."""
        for name in list(self._made):
            await self._let_go(name)

    def _connected(self, connect: Connect, cluster: Cluster, kept: ClusterCredentials, ours: str) -> Executor:
        try:
            address = ClusterAddress(
                name=cluster.name,
                kubeconfig=read_credentials(kept, self._keyring()),
                requests_per_second=cluster.requests_per_second,
                installation_id=ours,
                woken=self._woken,
                sharers=self._sharers,
            )
            return connect(address)
        except GuildhallError as error:
            logger.error("Cluster %s cannot be connected: %s", cluster.name, error.message)  # noqa: TRY400 -- one sentence
            return Unconnected(error)

    async def _let_go(self, name: str) -> None:
        del self._versions[name]
        executor = self._made.pop(name)
        try:
            await executor.close()
        except Exception:
            logger.exception("The connection to cluster %s did not close well.", name)


class Unconnected:
    """A cluster whose credentials cannot be used here: says so whatever it is asked, so that its state does."""

    def __init__(self, error: GuildhallError) -> None:
        self._error = error

    async def machines(self) -> Sequence[Machine] | None:
        """Refuses."""
        self._refuse()

    async def version(self) -> str | None:
        """Refuses."""
        self._refuse()

    async def launch(self, launch: Launch) -> None:
        """Refuses."""
        self._refuse()

    async def observe(self) -> Sequence[Observation]:
        """Refuses."""
        self._refuse()

    async def knows(self, name: str) -> bool:
        """Refuses."""
        self._refuse()

    async def stop(self, name: str, *, grace_seconds: int, reason: Reason) -> None:
        """Refuses."""
        self._refuse()

    async def remove(self, name: str) -> None:
        """Refuses."""
        self._refuse()

    async def logs(self, name: str, *, after: int, limit: int) -> Sequence[LogLine]:
        """Refuses."""
        self._refuse()

    async def close(self) -> None:
        """Nothing is open."""

    def _refuse(self) -> Never:
        raise ClusterRefuses(self._error.message)
