"""The process that keeps one cluster: it brings it up, follows orders, and takes it down when nobody needs it any more.

Whoever uses the cluster holds a connection to the keeper's socket, a lifeline. The last one to let go, also by being
killed, ends the cluster, unless it was pinned (`python -m tests.cluster up`).
"""

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.cluster.binaries import Binaries
from tests.cluster.caching import locked
from tests.cluster.standing import StandingCluster, remove_folder
from tests.cluster.unavailable import ClusterUnavailable

FIRST_USER_SECONDS_MAX = 30
SOCKET = "keeper"
LISTENING = b"listening\n"

logger = logging.getLogger("keeper")


class Keeper:
    """Follows orders that come as JSON lines through a Unix socket, each answered with a JSON line."""

    def __init__(self, state: Path, cluster: StandingCluster, archives: list[Path]) -> None:
        self._state = state
        self._cluster = cluster
        self._archives = archives
        self._lifelines: set[asyncio.StreamWriter] = set()
        self._pinned = False
        self._over = asyncio.Event()
        self._standing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def keep(self) -> None:
        """From nothing to nothing."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._over.set)
        server = await asyncio.start_unix_server(self._serve, self._state / SOCKET)
        os.write(1, LISTENING)
        forget_starter(self._state / "keeper.log")
        first = asyncio.get_running_loop().call_later(FIRST_USER_SECONDS_MAX, self._end_if_unused)
        raising = asyncio.create_task(self._up())
        try:
            await self._over.wait()
        finally:
            first.cancel()
            raising.cancel()
            # Whoever comes now waits for the lock, and finds nothing when it is free.
            with locked(lock_of(self._state)):
                server.close()
                (self._state / SOCKET).unlink()
                await asyncio.gather(raising, return_exceptions=True)
                await self._cluster.down()
                remove_folder(self._state)

    async def _up(self) -> None:
        try:
            await self._cluster.up(self._archives)
        except Exception as error:
            reason = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            if not isinstance(reason, ClusterUnavailable):
                logger.exception("the cluster did not come up")
            self._standing.set_exception(ClusterUnavailable(str(reason) or type(reason).__name__))
            self._standing.exception()  # nobody may be left to be told
        else:
            self._standing.set_result(None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await self._answer(json.loads(line), writer)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            if writer in self._lifelines:
                self._lifelines.discard(writer)
                self._end_if_unused()

    def _end_if_unused(self) -> None:
        if not self._lifelines and not self._pinned:
            self._over.set()

    async def _answer(self, order: dict[str, Any], writer: asyncio.StreamWriter) -> dict[str, Any]:
        if order["do"] == "join":
            self._lifelines.add(writer)
        try:
            await asyncio.shield(self._standing)
            return await getattr(self, f"do_{order.pop('do')}")(**order) or {}
        except (ClusterUnavailable, OSError) as error:
            return {"error": str(error)}

    async def do_join(self) -> dict[str, Any]:
        """Hold the cluster as long as this connection is open."""
        layout = self._cluster.layout
        return {
            "kubeconfig": str(layout.state / "kubeconfig"),
            "pid": self._cluster.supervised.pid,
            "real_node": layout.real_node,
        }

    async def do_pin(self) -> None:
        """Go on also without lifelines."""
        self._pinned = True

    async def do_users(self) -> dict[str, Any]:
        """Who still needs it."""
        return {"lifelines": len(self._lifelines), "pinned": self._pinned}

    async def do_down(self) -> None:
        """End, whoever still uses it."""
        self._over.set()

    async def do_kill(self, component: str) -> None:
        """Kill it; it stays away until it is started."""
        await self._cluster.supervised.kill(component)

    async def do_start(self, component: str) -> None:
        """Start it again; the API server is waited for."""
        await self._cluster.start(component)
        if component in {"kube-apiserver", "etcd"}:
            await self._cluster.wait_ready()

    async def do_freeze(self, component: str) -> None:
        """Stop it in its tracks."""
        await self._cluster.freeze(component)

    async def do_thaw(self, component: str) -> None:
        """Let it go on."""
        await self._cluster.thaw(component)

    async def do_compact(self) -> dict[str, Any]:
        """Make etcd forget the past."""
        return {"revision": await self._cluster.compact()}

    async def do_expose(self, port: int, as_port: int) -> dict[str, Any]:
        """Let pods reach a server of this machine."""
        return {"port": await self._cluster.expose(port, as_port)}

    async def do_forward(self, address: str, port: int, to_address: str, to_port: int) -> None:
        """Serve a Service's address, with one pod behind it."""
        await self._cluster.forward(address, port, to_address, to_port)

    async def do_lead_in(self, address: str, port: int) -> dict[str, Any]:
        """Let this machine reach an address of the cluster's network; `conceal` ends it."""
        return {"port": await self._cluster.lead_in(address, port)}

    async def do_load(self, archive: str) -> None:
        """Bring an image to the real node."""
        await self._cluster.load(Path(archive))

    async def do_offer(self, resource: str, count: int) -> None:
        """Let the real node offer an extended resource."""
        await self._cluster.offer(resource, count)

    async def do_conceal(self, as_port: int) -> None:
        """End what expose began."""
        await self._cluster.conceal(as_port)


def lock_of(state: Path) -> Path:
    """Held by whoever starts or ends the cluster of that folder."""
    return state.with_name(f"{state.name}.lock")


def forget_starter(log: Path) -> None:
    """Write to a log from here on: whoever started us reads no further."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def main() -> None:
    """`python -m tests.cluster.keeper '{"state": …}'`; see `joining.py` for what is handed over."""
    order = json.loads(sys.argv[1])
    state = Path(order["state"])

    async def keep() -> None:
        cluster = StandingCluster(state, Binaries(Path(order["binaries"])), real_node=order["real_node"])
        await Keeper(state, cluster, [Path(path) for path in order["archives"]]).keep()

    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(keep())


if __name__ == "__main__":
    main()
