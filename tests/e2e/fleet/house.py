"""An installation whose one pool is a cluster of nodes that kwok pretends, for many jobs at once."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from demo.contract import document
from guildhall_client.client import Client
from tests.cluster.configuration import NODE_ADDRESS, RUNS_FOR
from tests.cluster.handle import RealCluster
from tests.cluster.standing import GPU
from tests.e2e.faults.house import House, configuration, now
from tests.e2e.faults.processes import until
from tests.e2e.fleet.workers import working

POOL = "fleet"
NODE_LABEL = "guildhall.example/fleet"
KWOK_TAINT = "kwok.x-k8s.io/node"
IMAGE = "registry.example.org/trainer:1"
AT_ONCE = 8
SETTINGS = {"GUILDHALL_JOBS_URL": f"http://{NODE_ADDRESS}:8000"}
"""Where pods would find the API, if any of them ran."""
COUNTED_SECONDS_MAX = 60
REGISTER_CLUSTER = """
mutation RegisterCluster($input: RegisterClusterInput!) {
  registerCluster(input: $input) { cluster { id } errors { code field message } }
}
"""


async def add_nodes(cluster: RealCluster, fleet: str, count: int, gpus: int) -> list[str]:
    """The nodes of a fleet; their names."""
    names = [f"{fleet}-{number}" for number in range(1, count + 1)]
    await cluster.add_fake_nodes(names, gpus=gpus, labels={NODE_LABEL: fleet})
    return names


def furnish(house: House, kubeconfig: str, fleet: str, *, requests_per_second: int) -> None:
    """Register the cluster, make a pool of the fleet's nodes and a price for it, and give the team its credits."""
    _sign_in(house, "pat", house.administrator)
    given = {"name": fleet, "region": "eu", "kubeconfig": kubeconfig, "requestsPerSecond": requests_per_second}
    house.people["pat"].mutate(REGISTER_CLUSTER, given)
    wanted = configuration(now())
    pool = {
        "name": POOL,
        "cluster": fleet,
        "accelerator": "sim",
        "acceleratorResource": GPU,
        "image": IMAGE,
        "nodeSelector": [{"name": NODE_LABEL, "value": fleet}],
        "tolerations": [{"key": KWOK_TAINT}],
        "walltimeSecondsMax": 3600,
    }
    for prices in wanted["priceLists"]:
        prices["rates"] = [{**rate, "pool": POOL} for rate in prices["rates"]]
    house.change("pat", "ApplyConfiguration", **{**wanted, "pools": [pool]})
    for name in ("alma", "audrey", "ada"):
        _sign_in(house, name, house.new_token(name)["secret"])
    house.allocate("works", "1000000")


def until_counted(house: House, slots: int) -> None:
    """Let a worker look at the cluster until it has found all of its accelerators."""
    with working(house.site, 1):
        found = f"SELECT 1 FROM pools WHERE slots = {slots}"
        until(lambda: house.book.rows(found), "the nodes are counted", seconds=COUNTED_SECONDS_MAX)


def fleet_job(number: int, *, gpus: int, nodes: int = 1, runs_for: str = "0s") -> dict[str, Any]:
    """A job that asks for accelerators and runs so long; there is nobody who would run its command."""
    return {
        "name": f"fleet-{number}",
        "command": ["true"],
        "source": {"image": IMAGE},
        "inputs": [],
        "nodes": nodes,
        "perNode": {"accelerator": "sim", "acceleratorCount": gpus},
        "walltimeSeconds": 600,
        "tier": "STANDARD",
        "environment": [{"name": RUNS_FOR, "value": runs_for}],
    }


async def quotes(house: House, jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A quote for each; their ids."""
    inputs = [{"team": "works", "programme": "trials", "job": job} for job in jobs]
    return [each["quote"]["id"] for each in await _changes(house, "RequestQuote", inputs)]


async def accepted(house: House, quote_ids: Sequence[str]) -> list[str]:
    """The ids of the quotes' jobs."""
    answers = await _changes(house, "AcceptQuote", [{"quoteId": quote_id} for quote_id in quote_ids])
    return [each["job"]["id"] for each in answers]


async def _changes(house: House, operation: str, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    gate = asyncio.Semaphore(AT_ONCE)
    headers = {"Authorization": f"Bearer {house.tokens['ada']}"}
    async with httpx.AsyncClient(base_url=house.site.url, headers=headers, timeout=120) as client:

        async def change(given: Mapping[str, Any]) -> dict[str, Any]:
            async with gate:
                body = {"query": document(operation), "variables": {"input": given}}
                told = (await client.post("/graphql", json=body)).json()
            assert "errors" not in told, told
            (answer,) = told["data"].values()
            assert answer["errors"] == [], answer
            found: dict[str, Any] = answer
            return found

        return await asyncio.gather(*(change(given) for given in inputs))


def _sign_in(house: House, person: str, token: str) -> None:
    house.tokens[person] = token
    house.people[person] = house.clients.enter_context(Client(house.site.url, token))
