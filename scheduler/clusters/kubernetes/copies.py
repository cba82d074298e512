"""Our copies of a cluster's Jobs and pods, put together by launch."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.connection import EventKind, KubernetesApi
from scheduler.clusters.kubernetes.failures import ClusterUnreachable
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.observing import Seen, is_ours
from scheduler.clusters.kubernetes.reflector import Change, Reflector
from scheduler.clusters.kubernetes.resources import JOBS, PODS, KubernetesObject, Resource

LISTED_SECONDS_MAX = 30.0


class Copies:
    """Two reflectors, started when first needed; `woken` is called at each change."""

    def __init__(self, api: KubernetesApi, installation: Installation, *, woken: Callable[[], None]) -> None:
        self._api = api
        self._woken = woken
        self._jobs: dict[str, KubernetesObject] = {}
        self._pods: dict[str, dict[str, KubernetesObject]] = {}
        self._seen: dict[str, Seen] = {}
        self._reflectors = [
            self._reflector(JOBS, installation, self._take_job),
            self._reflector(PODS, installation, self._take_pod),
        ]
        self._tasks: list[asyncio.Task[None]] = []

    async def require(self) -> None:
        """Return once both are complete; raises the failure that stands in the way, so that no old copy is believed."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(reflector.run()) for reflector in self._reflectors]
        for reflector, task in zip(self._reflectors, self._tasks, strict=True):
            if task.done():
                task.result()
            await self._require_listed(reflector)

    async def close(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _require_listed(self, reflector: Reflector) -> None:
        if reflector.failure is None and reflector.heard_at is None:
            with contextlib.suppress(TimeoutError):
                await reflector.listed(seconds=LISTED_SECONDS_MAX)
        if reflector.failure is not None:
            raise reflector.failure
        if reflector.heard_at is None:
            raise ClusterUnreachable(f"{self._api.server} did not list what is ours within {LISTED_SECONDS_MAX:g} s.")

    def launches(self) -> list[Seen]:
        """Every launch that there is a Job or a pod of; the same object as before where nothing has changed."""
        return [self._put_together(name) for name in sorted({*self._jobs, *self._pods})]

    def launch(self, name: str) -> Seen | None:
        """One of them."""
        return self._put_together(name) if name in self._jobs or name in self._pods else None

    def pods(self) -> Iterable[KubernetesObject]:
        """All pods of ours."""
        return self._reflectors[1].objects.values()

    def _put_together(self, name: str) -> Seen:
        known = self._seen.get(name)
        if known is None:
            known = Seen(job=self._jobs.get(name), pods=tuple(self._pods.get(name, {}).values()))
            self._seen[name] = known
        return known

    def _reflector(
        self, resource: Resource, installation: Installation, take: Callable[[Change, str], None]
    ) -> Reflector:
        def changed(change: Change) -> None:
            name = naming.launch_of(change.object)
            if name is not None:
                self._seen.pop(name, None)
                take(change, name)
                self._woken()

        return Reflector(self._api, resource, label_selector=installation.selector, on_change=changed)

    def _take_job(self, change: Change, name: str) -> None:
        if change.kind is EventKind.DELETED:
            self._jobs.pop(name, None)
        else:
            self._jobs[name] = change.object

    def _take_pod(self, change: Change, name: str) -> None:
        """Keep a pod while it has our finalizer: without it, it is settled."""
        pods = self._pods.setdefault(name, {})
        uid = change.object["metadata"]["uid"]
        if change.kind is EventKind.DELETED or not is_ours(change.object):
            pods.pop(uid, None)
            if not pods:
                del self._pods[name]
        else:
            pods[uid] = change.object
