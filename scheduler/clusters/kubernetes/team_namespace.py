"""The namespace of a team: made at its first launch, closed to the network, and refused where it is somebody else's."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from guildhall.clock import Clock
from scheduler.clusters.executor import Launch, LaunchRefused
from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.failures import ObjectExists, ObjectMissing
from scheduler.clusters.kubernetes.manifests import (
    CLOSED_POLICY,
    api_port,
    closed_network_manifest,
    literal_network,
    namespace_manifest,
)
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.resources import NAMESPACES, NETWORK_POLICIES, KubernetesObject

LOOKED_AT_EVERY = timedelta(minutes=10)
"""How often a namespace that is known is looked at again, and its policy written anew: addresses may move."""
FIELD_MANAGER = "guildhall"


class TeamNamespaces:
    """Remembers what it has looked at; `doubt` makes it look again."""

    def __init__(
        self, api: KubernetesApi, installation: Installation, *, api_networks: Sequence[str], clock: Clock
    ) -> None:
        self._api = api
        self._installation = installation
        self._api_networks = tuple(api_networks)
        self._clock = clock
        self._looked_at: dict[str, datetime] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def ensure(self, launch: Launch) -> None:
        """Have the namespace of the launch's team; raises LaunchRefused where its name is taken."""
        # Sixteen launches of one team at once look once.
        async with self._locks.setdefault(launch.team, asyncio.Lock()):
            looked_at = self._looked_at.get(launch.team)
            if looked_at is None or looked_at + LOOKED_AT_EVERY <= self._clock.now():
                await self._ensure(launch)
                self._looked_at[launch.team] = self._clock.now()

    def doubt(self, team: str) -> None:
        """Look again at the next launch: somebody may have deleted it."""
        self._looked_at.pop(team, None)

    async def _ensure(self, launch: Launch) -> None:
        manifest = namespace_manifest(self._installation, launch.team)
        namespace = manifest["metadata"]["name"]
        try:
            found = await self._api.get(NAMESPACES, namespace)
        except ObjectMissing:
            try:
                found = await self._api.create(NAMESPACES, manifest)
            except ObjectExists:
                found = await self._api.get(NAMESPACES, namespace)
        self._require_ours(found, launch.team)
        networks = self._api_networks or await api_addresses(launch.api_url)
        policy = closed_network_manifest(self._installation, launch.team, api_url=launch.api_url, networks=networks)
        await self._api.apply(NETWORK_POLICIES, CLOSED_POLICY, policy, manager=FIELD_MANAGER, namespace=namespace)

    def _require_ours(self, found: KubernetesObject, team: str) -> None:
        labels = found["metadata"].get("labels") or {}
        wanted = {**self._installation.labels, naming.TEAM: team}
        if any(labels.get(key) != value for key, value in wanted.items()):
            name = found["metadata"]["name"]
            sentence = f"the namespace {name} exists on the cluster and is not ours; rename or delete it"
            raise LaunchRefused("NAMESPACE_TAKEN", sentence)


async def api_addresses(api_url: str) -> list[str]:
    """The addresses of our API in CIDR notation, as its name reads here."""
    literal = literal_network(api_url)
    if literal is not None:
        return [literal]
    host = urlsplit(api_url).hostname
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, api_port(api_url), type=socket.SOCK_STREAM)
    except OSError as error:
        raise LaunchRefused(
            "API_URL_UNKNOWN", f"the service's own address {api_url} has no address: {error}"
        ) from error
    return sorted({str(ipaddress.ip_network(address[0])) for *_, address in found})
