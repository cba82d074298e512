"""A reflector that runs in a test, and what it is compared with."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from scheduler.clusters.kubernetes.connection import EventKind, KubernetesApi
from scheduler.clusters.kubernetes.reflector import Change, Key, Reflector
from scheduler.clusters.kubernetes.resources import KubernetesObject
from tests.scheduler.clusters.kubernetes.kinds import CONFIG_MAPS

SECONDS_MAX = 60.0
SELECTOR = "test=reflector"


class Followed:
    """A reflector that runs, the changes it told of, and the copy that somebody who heard only those would have."""

    def __init__(self, api: KubernetesApi, namespace: str, **how: Any) -> None:
        self.changes: list[Change] = []
        self.heard: dict[Key, str] = {}
        self.reflector = Reflector(
            api, CONFIG_MAPS, namespace=namespace, label_selector=SELECTOR, on_change=self._hear, **how
        )

    def _hear(self, change: Change) -> None:
        about = change.object["metadata"]
        key = (about["namespace"], about["name"])
        known = self.heard.get(key)
        self.changes.append(change)
        if change.kind is EventKind.ADDED:
            assert known is None, f"{key} is there already"
            self.heard[key] = about["uid"]
        else:
            assert known == about["uid"], f"{change.kind} of {key}, which is {known}"
            if change.kind is EventKind.DELETED:
                del self.heard[key]

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(change.kind.value, change.object["metadata"]["name"]) for change in self.changes]

    @property
    def copy(self) -> dict[str, str]:
        return versions(list(self.reflector.objects.values()))


@asynccontextmanager
async def following(api: KubernetesApi, namespace: str, **how: Any) -> AsyncIterator[Followed]:
    followed = Followed(api, namespace, **{"watch_seconds": 5, **how})
    running = asyncio.create_task(followed.reflector.run())
    try:
        yield followed
        assert not running.done() or running.exception() is None
        assert {key: item["metadata"]["uid"] for key, item in followed.reflector.objects.items()} == followed.heard
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def versions(items: list[KubernetesObject]) -> dict[str, str]:
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}


def labelled(name: str, **data: str) -> KubernetesObject:
    return {"metadata": {"name": name, "labels": {"test": "reflector"}}, "data": data}


async def make(api: KubernetesApi, namespace: str, *names: str) -> None:
    for name in names:
        await api.create(CONFIG_MAPS, labelled(name), namespace=namespace)


async def change(api: KubernetesApi, namespace: str, name: str, value: str) -> None:
    await api.patch(CONFIG_MAPS, name, {"data": {"value": value}}, namespace=namespace)


async def drop(api: KubernetesApi, namespace: str, *names: str) -> None:
    for name in names:
        await api.delete(CONFIG_MAPS, name, namespace=namespace)


async def until(is_so: Callable[[], bool], what: str) -> None:
    ends_at = asyncio.get_running_loop().time() + SECONDS_MAX
    while not is_so():
        assert asyncio.get_running_loop().time() < ends_at, f"{SECONDS_MAX} seconds were not enough until {what}"
        await asyncio.sleep(0.01)


async def agreed(followed: Followed, api: KubernetesApi, namespace: str) -> dict[str, str]:
    """Wait until the copy equals the list, and answer with it."""
    truth: dict[str, str] = {}
    async for page in api.list_pages(CONFIG_MAPS, namespace=namespace, label_selector=SELECTOR, page_size=None):
        truth.update(versions(page.items))
    await until(lambda: followed.copy == truth, f"{followed.copy} is {truth}")
    return truth
