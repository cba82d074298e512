"""Chapter 1: one configuration sets the organisation up, and programmes get their credits."""

import time
from decimal import Decimal
from typing import Any

from demo.organisation import CARBON, PEOPLE, REGION, Platform, configuration
from demo.world import World

ISSUE = """
mutation IssueToken($input: IssueTokenInput!) {
  issueToken(input: $input) { secret errors { code field message } }
}
"""
REGISTER_CLUSTER = """
mutation RegisterCluster($input: RegisterClusterInput!) {
  registerCluster(input: $input) { cluster { id } errors { code field message } }
}
"""
CLUSTER = """
query Cluster($id: ID!) {
  node(id: $id) {
    ... on Cluster { state version nodes(first: 100) { nodes { name accelerators { resource allocatable } } } }
  }
}
"""
COUNTED_SECONDS_MAX = 60
DAY_SECONDS = 86_400
WALLETS = {("maintenance", "zero-defects"): 200, ("quality", "zero-defects"): 120, ("maintenance", "tinkering"): 5}


def set_up(world: World) -> None:
    """Apply the configuration, sign everybody in, bring the wallets to what the committee decided."""
    world.narrator.chapter("1  The organisation")
    if world.platform is not None:
        _register_cluster(world, world.platform)
    with world.narrator.step("Pat (administrator)", "applies the configuration") as step:
        changes = world.change("pat", "ApplyConfiguration", **configuration(world.now(), world.platform))["changes"]
        made = [change for change in changes if change["action"] == "CREATED"]
        step.said = f"{len(made)} things made" if made else "all of it is there already"
        world.facts["configuration_changes"] = len(changes)
    with world.narrator.step("Pat", "gives everybody a token") as step:
        for name, person in PEOPLE.items():
            if name != "pat":
                inputs = {"email": person["email"], "label": "demo", "durationSeconds": 30 * DAY_SECONDS}
                world.sign_in(name, world.people["pat"].mutate(ISSUE, inputs)["secret"])
        step.said = f"{len(PEOPLE) - 1} people can sign in"
        step.recorded = world.recorded()
    for (team, programme), wanted in WALLETS.items():
        with world.narrator.step("Alma (allocation committee)", f"allocates to {team} for {programme}") as step:
            missing = wanted - _remaining(world, team, programme)
            if missing > wanted / 2:
                begins = world.now().replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
                world.change(
                    "alma",
                    "AllocateCredits",
                    team=team,
                    programme=programme,
                    credits=f"{missing:f}",
                    validFrom=begins.isoformat(),
                    validTo=begins.replace(year=begins.year + 1).isoformat(),
                    reason="decided by the allocation committee",
                )
                step.cost = f"{missing:f} credits"
            step.said = f"{_remaining(world, team, programme):f} to spend"
            step.recorded = world.recorded()


def _register_cluster(world: World, platform: Platform) -> None:
    with world.narrator.step("Pat (administrator)", f"registers the Kubernetes cluster {platform.name}") as step:
        inputs = {
            "name": platform.name,
            "region": REGION,
            "carbonGramsPerKwh": CARBON,
            "kubeconfig": platform.kubeconfig,
            "inCluster": platform.kubeconfig is None,
        }
        registered = world.people["pat"].mutate(REGISTER_CLUSTER, inputs)["cluster"]
        cluster = world.facts["cluster"] = _counted(world, registered["id"], platform)
        nodes = ", ".join(
            f"{node['name']} with {', '.join(_accelerators(node['accelerators'])) or 'no accelerators'}"
            for node in cluster["nodes"]["nodes"]
        )
        step.said = f"Kubernetes {cluster['version']}: {nodes}"


def _counted(world: World, cluster_id: str, platform: Platform) -> dict[str, Any]:
    """The cluster once a worker has counted nodes that offer all that the pools are made of."""
    ends_at = time.monotonic() + COUNTED_SECONDS_MAX
    while True:
        cluster: dict[str, Any] = world.people["pat"].execute(CLUSTER, {"id": cluster_id})["node"]
        offered = {each["resource"] for node in cluster["nodes"]["nodes"] for each in node["accelerators"]}
        missing = set(platform.resources.values()) - offered
        if not missing:
            return cluster
        if time.monotonic() > ends_at:
            wanted = ", ".join(sorted(missing))
            raise RuntimeError(f"no node of the cluster offered {wanted} within {COUNTED_SECONDS_MAX} seconds")
        time.sleep(0.2)


def _accelerators(found: list[dict[str, Any]]) -> list[str]:
    return [f"{each['allocatable']} {each['resource']}" for each in found]


def _remaining(world: World, team: str, programme: str) -> Decimal:
    allocations = world.wallet("alma", team)["allocations"]["nodes"]
    amounts = [Decimal(node["remaining"]) for node in allocations if node["programme"]["name"] == programme]
    return sum(amounts, Decimal(0))
