"""The reflector against a real API server, and against one that lies about what it has."""

import asyncio
import json

import pytest
from aiohttp import web

from scheduler.clusters.kubernetes import reflector as module
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.failures import AnswerUnintelligible, ClusterBusy, ClusterUnreachable, VersionExpired
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy
from tests.scheduler.clusters.kubernetes.following import SECONDS_MAX, agreed, change, drop, following, make, until
from tests.scheduler.clusters.kubernetes.kinds import CONFIG_MAPS

pytestmark = pytest.mark.usefixtures("patience")


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
