"""Installations to break: processes of the product, each module's on one database, furnished with a small world."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from demo.organisation import Platform
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from tests.cluster.demonstration import reachable
from tests.cluster.handle import RealCluster
from tests.conftest import cloned_database
from tests.e2e.faults.house import House
from tests.e2e.faults.ledger_book import Book
from tests.e2e.faults.processes import bootstrap, make_site, running
from tests.e2e.faults.treasures import furnish_with_treasures


@pytest.fixture(scope="session")
async def workshop_database(server: EmbeddedServer) -> AsyncIterator[dict[str, str]]:
    """The addresses of a migrated database, as the settings name them."""
    async with cloned_database(server) as cloned:
        yield addresses(server, cloned.url)


@pytest.fixture(scope="session")
def workshop(workshop_database: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An API and a worker, two processes on one database, for all faults that leave both alive."""
    with ExitStack() as stack:
        house = make_house(tmp_path_factory.mktemp("workshop"), workshop_database, stack)
        stack.enter_context(running(house.site, "api"))
        stack.enter_context(running(house.site, "worker"))
        house.furnish()
        yield house


@pytest.fixture(scope="session")
def treasury(workshop: House, tmp_path_factory: pytest.TempPathFactory) -> House:
    """The workshop, with one thing of each kind in it."""
    furnish_with_treasures(workshop, tmp_path_factory.mktemp("treasures"))
    return workshop


def addresses(server: EmbeddedServer, url: str) -> dict[str, str]:
    """Settings for the service and for the owner of the database at this address of the service."""
    name = url.partition("?")[0].rpartition("/")[2]
    return {"GUILDHALL_DATABASE_URL": url, "GUILDHALL_MIGRATION_DATABASE_URL": server.url(OWNER_ROLE, name)}


def make_house(folder: Path, database: dict[str, str], stack: ExitStack) -> House:
    """An installation with its administrator; its processes are the caller's to start, and then to furnish it."""
    site = make_site(folder / "data", database)
    site.folder.mkdir()
    token = bootstrap(site)
    # Every connection is kept: httpcore closes idle ones beyond a limit, also those that another thread has just taken.
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200, keepalive_expiry=None)
    http = stack.enter_context(httpx.Client(timeout=60, limits=limits))
    return House(site, Book(database["GUILDHALL_DATABASE_URL"]), token, stack, http)


@pytest.fixture(scope="module", params=["local", "kubernetes"])
def ground(request: pytest.FixtureRequest) -> RealCluster | None:
    """What the jobs run on: this machine, or a real cluster."""
    if request.param == "local":
        return None
    cluster: RealCluster = request.getfixturevalue("cluster")
    if cluster.joined is None:
        pytest.skip("pods of a cluster that somebody else runs would have to be told another address")
    return cluster


@pytest.fixture(scope="module")
async def ground_database(server: EmbeddedServer, ground: RealCluster | None) -> AsyncIterator[dict[str, str]]:
    """The addresses of a migrated database of the module's own, another one on each ground."""
    del ground
    async with cloned_database(server) as cloned:
        yield addresses(server, cloned.url)


def place_on(ground: RealCluster | None, folder: Path, settings: dict[str, str], stack: ExitStack) -> House:
    """As `make_house`, whose jobs will run there."""
    if ground is None or ground.joined is None:
        return make_house(folder, settings, stack)
    house = make_house(folder, {**settings, **stack.enter_context(reachable(ground.joined))}, stack)
    house.platform = platform_of(ground)
    return house


def platform_of(cluster: RealCluster) -> Platform:
    """The cluster's real node, as a pool sees it."""
    return Platform(
        name="forge",
        kubeconfig=cluster.kubeconfig_text,
        image=cluster.images.python,
        node_selector={"kubernetes.io/hostname": "node-1"},
        resources={"sim": "nvidia.com/gpu"},
    )
