"""The peer: the same objects, posted to the same API server by plain aiohttp, and when Jobs are complete there."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from scheduler.clusters.kubernetes.credentials import parse_kubeconfig

LINE_BYTES_MAX = 1 << 24
COMPLETED_SECONDS_MAX = 900
AT_ONCE = 64
"""As many as our own client has in flight."""


class Bare:
    """A client that knows nothing of Kubernetes but its paths."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session = session
        self._server = server

    async def post(self, path: str, body: Any) -> dict[str, Any]:
        """The object as the server has made it."""
        headers = {"Content-Type": "application/json"}
        content = msgspec.json.encode(body)
        async with self._session.post(self._server + path, data=content, headers=headers) as answer:
            found: dict[str, Any] = msgspec.json.decode(await answer.read())
            assert answer.ok, found
            return found

    async def post_all(self, namespace: str, launches: Sequence[tuple[Any, Any]]) -> float:
        """Jobs, each with the Secret that it owns; the seconds that it took."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(job: Any, secret: Any) -> None:
            async with gate:
                made = await self.post(f"/apis/batch/v1/namespaces/{namespace}/jobs", job)
                if secret is not None:
                    secret["metadata"]["ownerReferences"][0]["uid"] = made["metadata"]["uid"]
                    await self.post(f"/api/v1/namespaces/{namespace}/secrets", secret)

        began = time.perf_counter()
        await asyncio.gather(*(one(job, secret) for job, secret in launches))
        return time.perf_counter() - began

    async def version(self) -> str:
        """Where a watch of Jobs begins."""
        async with self._session.get(f"{self._server}/apis/batch/v1/jobs?limit=1") as answer:
            return str((await answer.json())["metadata"]["resourceVersion"])

    async def completed(self, version: str, count: int, selector: str) -> float:
        """Wait until so many Jobs of that label are complete; the moment of the last."""
        done: set[str] = set()
        async with asyncio.timeout(COMPLETED_SECONDS_MAX):
            while True:  # a server ends watches when it likes
                asked = {"watch": "true", "resourceVersion": version, "labelSelector": selector}
                async with self._session.get(f"{self._server}/apis/batch/v1/jobs", params=asked) as stream:
                    async for line in stream.content:
                        event = msgspec.json.decode(line)
                        assert event["type"] != "ERROR", event
                        item = event["object"]
                        version = item["metadata"]["resourceVersion"]
                        if _is_complete(item):
                            done.add(item["metadata"]["uid"])
                            if len(done) == count:
                                return time.perf_counter()


def _is_complete(job: Mapping[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Complete" and each["status"] == "True" for each in conditions)


@asynccontextmanager
async def bare_client(kubeconfig: str) -> AsyncIterator[Bare]:
    """An administrator's."""
    access = parse_kubeconfig(kubeconfig)
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(ssl=access.tls(), limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=LINE_BYTES_MAX) as session:
        yield Bare(session, access.server)
