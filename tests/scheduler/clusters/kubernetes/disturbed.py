"""A control plane that tests may disturb: killed, frozen, compacted, and cut off by a relay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scheduler.clusters.kubernetes.credentials import parse_kubeconfig
from tests.cluster.joining import Joined
from tests.cluster.relay import Relay


@dataclass(frozen=True)
class Disturbed:
    """`kubeconfig` leads straight to the API server, `relayed` over a relay that can be cut."""

    joined: Joined
    relay: Relay
    kubeconfig: str
    relayed: str

    def certificate(self, name: str) -> Path:
        """A file of the cluster's authority: ca.crt, ca.key, …"""
        return self.joined.state / "certificates" / name

    async def restart_having_forgotten(self) -> None:
        """Kill the API server, drop all history, start it again: no version of before can be watched from."""
        await self.joined.ordered("kill", component="kube-apiserver")
        await self.joined.ordered("compact")
        await self.joined.ordered("start", component="kube-apiserver")


@asynccontextmanager
async def disturbed(joined: Joined) -> AsyncIterator[Disturbed]:
    """With a relay that stands as long as the context."""
    text = await asyncio.to_thread(joined.kubeconfig.read_text, encoding="utf-8")
    server = urlsplit(parse_kubeconfig(text).server)
    assert server.hostname is not None
    assert server.port is not None
    async with Relay((server.hostname, server.port)) as relay:
        yield Disturbed(joined, relay, text, text.replace(f":{server.port}", f":{relay.port}"))
