"""What an API server itself has written down of our Jobs and pods, from the first to the last, in its own order."""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.cluster.handle import RealCluster
from tests.cluster.standing import GPU

JOBS = "/apis/batch/v1/jobs"
PODS = "/api/v1/pods"
FINISHED = frozenset({"Succeeded", "Failed"})
JOB_LABEL = "guildhall.io/job"

Event = Mapping[str, Any]


@dataclass
class Record:
    """The events of both kinds. Versions are the server's own: the order in which it wrote."""

    jobs: list[Event] = field(default_factory=list)
    pods: list[Event] = field(default_factory=list)

    def objects_of_jobs(self) -> dict[str, set[str]]:
        """The uids of all Job objects that there ever were, by the id of our job."""
        return _uids(self.jobs)

    def pods_of_jobs(self) -> dict[str, set[str]]:
        """As `objects_of_jobs`."""
        return _uids(self.pods)

    def lives(self) -> dict[str, tuple[set[str], set[str]]]:
        """When the main containers began and ended, as told (whoever pretends may tell several), by the pod's uid."""
        found = defaultdict[str, tuple[set[str], set[str]]](lambda: (set(), set()))
        for event in self.pods:
            began, ended = found[event["object"]["metadata"]["uid"]]
            for status in event["object"]["status"].get("containerStatuses") or ():
                for about in status.get("state", {}).values():
                    began |= {about["startedAt"]} if "startedAt" in about else set()
                    ended |= {about["finishedAt"]} if "finishedAt" in about else set()
        return dict(found)

    def peaks(self) -> tuple[int, dict[str, int]]:
        """The most accelerators that pods had at any moment: all together, those that wait included, and by node."""
        having: dict[str, tuple[str, int]] = {}
        peak, peaks, by_node = 0, defaultdict[str, int](int), defaultdict[str, int](int)
        for event in self.pods:
            pod = event["object"]
            uid = pod["metadata"]["uid"]
            node, gpus = having.pop(uid, ("", 0))
            by_node[node] -= gpus
            if event["type"] != "DELETED" and pod["status"].get("phase") not in FINISHED:
                node, gpus = pod["spec"].get("nodeName", ""), _gpus(pod)
                having[uid] = node, gpus
                by_node[node] += gpus
                peaks[node] = max(peaks[node], by_node[node])
                peak = max(peak, sum(by_node.values()))
        peaks.pop("", None)
        return peak, dict(peaks)


@asynccontextmanager
async def recorded(cluster: RealCluster, selector: str) -> AsyncIterator[Record]:
    """Write down what happens to the objects of this label while the block runs; there are none when it begins."""
    record = Record()
    async with cluster.client() as client:
        tasks = [
            asyncio.create_task(_watch(client, path, selector, events))
            for path, events in ((JOBS, record.jobs), (PODS, record.pods))
        ]
        try:
            yield record
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for each in ended:
            if not isinstance(each, asyncio.CancelledError):
                assert not isinstance(each, BaseException), each


async def _watch(client: httpx.AsyncClient, path: str, selector: str, events: list[Event]) -> None:
    """Every event from now on: where the stream ends it goes on from the last version, which loses none."""
    query = {"labelSelector": selector}
    found = (await client.get(path, params=query)).raise_for_status().json()
    assert found["items"] == [], f"somebody has used {selector} before"
    version = found["metadata"]["resourceVersion"]
    while True:
        asked = {**query, "watch": "true", "resourceVersion": version}
        with contextlib.suppress(httpx.TransportError):
            async with client.stream("GET", path, params=asked, timeout=httpx.Timeout(30, read=None)) as stream:
                async for line in stream.aiter_lines():
                    event = json.loads(line)
                    assert event["type"] != "ERROR", event
                    version = event["object"]["metadata"]["resourceVersion"]
                    events.append(event)


def _uids(events: list[Event]) -> dict[str, set[str]]:
    found = defaultdict[str, set[str]](set)
    for event in events:
        about = event["object"]["metadata"]
        found[about["labels"][JOB_LABEL]].add(about["uid"])
    return dict(found)


def _gpus(pod: Mapping[str, Any]) -> int:
    return sum(int(each["resources"].get("limits", {}).get(GPU, 0)) for each in pod["spec"]["containers"])
