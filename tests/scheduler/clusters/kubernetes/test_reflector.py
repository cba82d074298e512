"""The reflector against a real API server that is killed, frozen, compacted, cut off, or lied about."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import pytest
from aiohttp import web

from scheduler.clusters.kubernetes import reflector as module
from scheduler.clusters.kubernetes.connection import EventKind, KubernetesApi
from scheduler.clusters.kubernetes.failures import (
    AnswerUnintelligible,
    ClusterBusy,
    ClusterSilent,
    ClusterUnreachable,
    VersionExpired,
)
from scheduler.clusters.kubernetes.reflector import Change, Key, Reflector
from scheduler.clusters.kubernetes.resources import NAMESPACES, KubernetesObject
from tests.cluster.handle import RealCluster
from tests.cluster.relay import Relay
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy
from tests.scheduler.clusters.kubernetes.kinds import CONFIG_MAPS

SECONDS_MAX = 60.0
SELECTOR = "test=reflector"
_numbers = count(1)


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


@pytest.fixture
def plane(own_control_plane: RealCluster) -> RealCluster:
    return own_control_plane


@pytest.fixture
async def namespace(api: KubernetesApi) -> str:
    name = f"reflector-{next(_numbers)}"
    await api.create(NAMESPACES, {"metadata": {"name": name}})
    return name


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_SECONDS_MIN", 0.02)
    monkeypatch.setattr(module, "BACKOFF_SECONDS_MAX", 0.2)


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


class TestFollowing:
    async def test_lists_in_pages_then_watches(self, api: KubernetesApi, namespace: str) -> None:
        await make(api, namespace, *(f"before-{number}" for number in range(7)))
        await api.create(CONFIG_MAPS, {"metadata": {"name": "not-ours"}}, namespace=namespace)
        async with following(api, namespace, page_size=3) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            assert sorted(followed.told) == [("ADDED", f"before-{number}") for number in range(7)]
            followed.changes.clear()
            await make(api, namespace, "after")
            await change(api, namespace, "after", "1")
            await drop(api, namespace, "before-0")
            assert len(await agreed(followed, api, namespace)) == 7
            assert followed.told == [("ADDED", "after"), ("MODIFIED", "after"), ("DELETED", "before-0")]
            assert followed.changes[1].object["data"] == {"value": "1"}
            assert all("managedFields" not in item["metadata"] for item in followed.reflector.objects.values())
            assert followed.reflector.failure is None

    async def test_goes_on_from_watch_to_watch_without_a_list(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, api: KubernetesApi, namespace: str
    ) -> None:
        await make(api, namespace, "one")
        async with following(proxied_api, namespace, watch_seconds=1) as followed:
            for number in range(3):
                await change(api, namespace, "one", str(number))
                before = len(proxy.watches)
                while len(proxy.watches) == before:
                    await asyncio.sleep(0.01)
            await agreed(followed, api, namespace)
        assert len(proxy.lists) == 1

    async def test_an_object_that_leaves_the_selector_is_gone_and_may_come_back(
        self, api: KubernetesApi, namespace: str
    ) -> None:
        await make(api, namespace, "one")
        async with following(api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            for label in ("other", "reflector"):
                await api.patch(CONFIG_MAPS, "one", {"metadata": {"labels": {"test": label}}}, namespace=namespace)
            await agreed(followed, api, namespace)
            assert followed.told == [("ADDED", "one"), ("DELETED", "one"), ("ADDED", "one")]

    async def test_a_full_list_comes_now_and_then_and_is_the_truth(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, api: KubernetesApi, namespace: str
    ) -> None:
        await make(api, namespace, "one", "two")
        async with following(proxied_api, namespace, watch_seconds=1, relist_seconds=3) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            proxy.rewrite = lambda line: [] if b'"type"' in line else [line]  # a server whose watches say nothing
            await drop(api, namespace, "one")
            await make(api, namespace, "three")
            await agreed(followed, api, namespace)
            assert followed.told[2:] == [("DELETED", "one"), ("ADDED", "three")]

    async def test_a_doubt_is_resolved_by_a_list(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, api: KubernetesApi, namespace: str
    ) -> None:
        async with following(proxied_api, namespace, watch_seconds=1) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            proxy.rewrite = lambda line: [] if b'"type"' in line else [line]
            await make(api, namespace, "one")
            followed.reflector.doubt()
            await agreed(followed, api, namespace)

    async def test_who_waits_for_the_first_list_hears_why_there_is_none(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy
    ) -> None:
        proxy.answer_times(1_000, 500)
        async with following(proxied_api, "default") as followed:
            with pytest.raises(ClusterUnreachable, match="answered 500"):
                await followed.reflector.listed(seconds=SECONDS_MAX)

    async def test_nobody_waits_for_ever_for_the_first_list(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy
    ) -> None:
        async def dawdle(_: web.Request) -> None:
            await asyncio.sleep(20)

        proxy.answer = dawdle
        async with following(proxied_api, "default") as followed:
            with pytest.raises(TimeoutError):
                await followed.reflector.listed(seconds=0.2)


class TestBookmarks:
    async def test_move_the_version_while_nothing_of_ours_happens(self, api: KubernetesApi, namespace: str) -> None:
        async with following(api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            before = int(followed.reflector.version)
            made = await api.create(CONFIG_MAPS, {"metadata": {"name": "not-ours"}}, namespace=namespace)
            version = int(made["metadata"]["resourceVersion"])
            assert version > before
            await until(lambda: int(followed.reflector.version) >= version, "a bookmark came")
            assert followed.told == []


class TestForgottenVersions:
    async def test_a_watch_from_a_version_that_is_compacted_away(
        self, plane: RealCluster, relay: Relay, relayed_api: KubernetesApi, api: KubernetesApi, namespace: str
    ) -> None:
        await make(api, namespace, "kept", "changed", "deleted", "made-anew")
        async with following(relayed_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            listed_at = int(followed.reflector.version)
            followed.changes.clear()
            relay.refuse()
            await change(api, namespace, "changed", "1")
            await drop(api, namespace, "deleted", "made-anew")
            await make(api, namespace, "made-anew", "new")
            # An API server that went on would still remember what etcd has forgotten.
            await plane.kill("kube-apiserver")
            await plane.compact()
            await plane.start("kube-apiserver")
            relay.restore()
            await agreed(followed, api, namespace)
            assert sorted(followed.told) == [
                ("ADDED", "made-anew"),
                ("ADDED", "new"),
                ("DELETED", "deleted"),
                ("DELETED", "made-anew"),
                ("MODIFIED", "changed"),
            ]
            assert followed.told.index(("DELETED", "made-anew")) < followed.told.index(("ADDED", "made-anew"))
        with pytest.raises(VersionExpired, match="too old resource version"):
            await anext(api.watch(CONFIG_MAPS, resource_version=str(listed_at), namespace=namespace))

    async def test_in_the_middle_of_a_watch(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, api: KubernetesApi, namespace: str
    ) -> None:
        expired = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
        error = json.dumps({"type": "ERROR", "object": expired}).encode() + b"\n"
        async with following(proxied_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            await until(lambda: len(proxy.watches) == 1, "it watches")
            proxy.rewrite = lambda line: [error] if b"ADDED" in line else [line]
            await make(api, namespace, "one")
            await agreed(followed, api, namespace)
        assert len(proxy.lists) == 2

    async def test_between_two_pages(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, api: KubernetesApi, namespace: str
    ) -> None:
        await make(api, namespace, "one", "two", "three")

        async def expire(request: web.Request) -> web.Response | None:
            return web.Response(status=410) if "continue" in request.query else None

        proxy.answer = expire
        async with following(proxied_api, namespace, page_size=2) as followed:
            assert len(await agreed(followed, api, namespace)) == 3
        # Twice in pages, then in one piece, which cannot expire.
        assert ["limit" in request.query for request in proxy.lists] == [True, True, True, True, False]

    async def test_again_and_again(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, api: KubernetesApi, namespace: str
    ) -> None:
        proxy.answer_times(10_000, 410)
        async with following(proxied_api, namespace) as followed:
            await until(lambda: isinstance(followed.reflector.failure, VersionExpired), "the failure is known")
            await make(api, namespace, "one")
            proxy.heal()
            await agreed(followed, api, namespace)


class TestFaults:
    async def test_the_api_server_is_killed_and_started_again(
        self, plane: RealCluster, api: KubernetesApi, namespace: str
    ) -> None:
        await make(api, namespace, "one", "two")
        async with following(api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            await plane.kill("kube-apiserver")
            await until(lambda: isinstance(followed.reflector.failure, ClusterUnreachable), "it is missed")
            assert len(followed.reflector.objects) == 2
            await plane.start("kube-apiserver")
            await drop(api, namespace, "one")
            await make(api, namespace, "three")
            await agreed(followed, api, namespace)
            assert followed.told[2:] == [("DELETED", "one"), ("ADDED", "three")]
            assert followed.reflector.failure is None

    async def test_the_api_server_is_frozen(self, plane: RealCluster, api: KubernetesApi, namespace: str) -> None:
        await make(api, namespace, "one")
        async with following(api, namespace, watch_seconds=2, silence_seconds_max=3.0) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            await plane.freeze("kube-apiserver")
            try:
                await until(lambda: isinstance(followed.reflector.failure, ClusterSilent), "its silence is noticed")
            finally:
                await plane.thaw("kube-apiserver")
            await make(api, namespace, "two")
            await agreed(followed, api, namespace)
            assert followed.told == [("ADDED", "one"), ("ADDED", "two")]

    async def test_the_connection_is_cut_in_mid_event(
        self, relay: Relay, relayed_api: KubernetesApi, api: KubernetesApi, namespace: str
    ) -> None:
        async with following(relayed_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            for number in range(3):
                relay.cut_after(50_000)
                await api.create(CONFIG_MAPS, labelled(f"large-{number}", text="x" * 200_000), namespace=namespace)
                await agreed(followed, api, namespace)
            assert followed.told == [("ADDED", f"large-{number}") for number in range(3)]

    async def test_what_is_deleted_while_cut_off_is_told_afterwards(
        self, relay: Relay, relayed_api: KubernetesApi, api: KubernetesApi, namespace: str
    ) -> None:
        await make(api, namespace, "one", "two")
        async with following(relayed_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            relay.refuse()
            await drop(api, namespace, "one")
            await make(api, namespace, "brief")
            await drop(api, namespace, "brief")
            await until(lambda: followed.reflector.failure is not None, "the cut is noticed")
            relay.restore()
            await until(lambda: ("DELETED", "one") in followed.told, "the deletion is told")
            await agreed(followed, api, namespace)

    async def test_events_that_come_twice_and_late(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, api: KubernetesApi, namespace: str
    ) -> None:
        seen: list[bytes] = []

        def repeat_all(line: bytes) -> list[bytes]:
            """Everything said before is said again after each event, latest first."""
            if b'"type"' not in line or b"BOOKMARK" in line:
                return [line]
            seen.append(line)
            return [line, *reversed(seen)]

        async with following(proxied_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            proxy.rewrite = repeat_all
            await make(api, namespace, "one", "two")
            await change(api, namespace, "one", "1")
            await drop(api, namespace, "one", "two")
            await make(api, namespace, "one")
            await agreed(followed, api, namespace)
            assert followed.told == [
                ("ADDED", "one"),
                ("ADDED", "two"),
                ("MODIFIED", "one"),
                ("DELETED", "one"),
                ("DELETED", "two"),
                ("ADDED", "one"),
            ]

    async def test_an_end_of_what_was_never_seen(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, api: KubernetesApi, namespace: str
    ) -> None:
        async with following(proxied_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            proxy.rewrite = lambda line: [] if b"ADDED" in line else [line]
            await make(api, namespace, "brief")
            await drop(api, namespace, "brief")
            proxy.heal()
            await make(api, namespace, "one")
            await agreed(followed, api, namespace)
            assert followed.told == [("ADDED", "one")]

    async def test_more_ends_than_are_remembered_lead_to_a_list(
        self,
        proxied_api: KubernetesApi,
        proxy: FaultyProxy,
        api: KubernetesApi,
        namespace: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(module, "DELETED_MAX", 1)
        await make(api, namespace, "one", "two", "three")
        async with following(proxied_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            await drop(api, namespace, "one")
            await agreed(followed, api, namespace)
            assert len(proxy.lists) == 1
            await drop(api, namespace, "two")
            await until(lambda: len(proxy.lists) == 2, "it lists again")
            await agreed(followed, api, namespace)

    @pytest.mark.parametrize(
        "nonsense",
        [
            b"<html>\n",
            b'{"type":"ADDED"}\n',
            b'{"type":"ADDED","object":{"metadata":{}}}\n',
            b'{"type":"FLOWN"}\n',
            b"[]\n",
        ],
    )
    async def test_a_stream_that_makes_no_sense(
        self, nonsense: bytes, proxied_api: KubernetesApi, proxy: FaultyProxy, api: KubernetesApi, namespace: str
    ) -> None:
        async with following(proxied_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            proxy.rewrite = lambda line: [nonsense] if b"ADDED" in line else [line]
            await make(api, namespace, "one")
            await agreed(followed, api, namespace)

    @pytest.mark.parametrize(
        ("status", "kind"), [(429, ClusterBusy), (503, ClusterUnreachable), (200, AnswerUnintelligible)]
    )
    async def test_a_server_that_answers_otherwise_for_a_while(
        self,
        status: int,
        kind: type[Exception],
        proxied_api: KubernetesApi,
        proxy: FaultyProxy,
        api: KubernetesApi,
        namespace: str,
    ) -> None:
        await make(api, namespace, "one")
        proxy.answer_times(10_000, status, headers={"Retry-After": "0"}, text="<html>")
        async with following(proxied_api, namespace) as followed:
            await until(lambda: isinstance(followed.reflector.failure, kind), "the failure is known")
            proxy.heal()
            await agreed(followed, api, namespace)
            assert followed.reflector.failure is None

    async def test_a_server_that_ends_every_watch_at_once_is_not_asked_without_end(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, api: KubernetesApi, namespace: str
    ) -> None:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await asyncio.sleep(0)

        async def end_watches(request: web.Request) -> web.Response | None:
            return web.Response(text="") if "watch" in request.query else None

        proxy.answer = end_watches
        async with following(proxied_api, namespace, sleep=sleep, randomness=lambda: 1.0):
            await until(lambda: len(slept) >= 6, "it has backed off six times")
        assert slept[:6] == [0.02, 0.04, 0.08, 0.16, 0.2, 0.2]
