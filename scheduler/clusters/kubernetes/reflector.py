"""A copy of what a cluster holds of one kind, kept close by a watch and made true by lists.

The watch is a hint. It says soon what happened, but may be cut, fall silent or skip; therefore a full list comes at
the start, at every doubt (the version is forgotten, silence, a stream that makes no sense) and every `relist_seconds`
anyway, and what the copy has and the list has not is gone. A watch that was merely cut goes on from the last version.

    reflector = Reflector(api, JOBS, label_selector=OURS, on_change=lambda change: wake.set())
    task = asyncio.create_task(reflector.run())
    await reflector.listed(seconds=30)
    reflector.objects            # by (namespace, name)
    reflector.failure            # the ClusterFailure that stands in the way now, or None
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType

from scheduler.clusters.kubernetes.connection import PAGE_SIZE, WATCH_SECONDS, EventKind, KubernetesApi, WatchEvent
from scheduler.clusters.kubernetes.failures import AnswerUnintelligible, ClusterFailure, ClusterSilent, VersionExpired
from scheduler.clusters.kubernetes.resources import KubernetesObject, Resource

RELIST_SECONDS = 300.0
LIST_ATTEMPTS_MAX = 3
BACKOFF_SECONDS_MIN = 0.5
BACKOFF_SECONDS_MAX = 30.0
DELETED_MAX = 100_000
"""How many ended objects are remembered between two lists, so that a late event brings none of them back."""

WATCH_SECONDS_MIN = 1.0
"""A watch that the server ends sooner counts as a failure, or one that ends them at once would be asked without end."""

Key = tuple[str, str]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What the copy learned: ADDED, MODIFIED, or DELETED with the object as it was last seen."""

    kind: EventKind
    object: KubernetesObject


class Reflector:
    """Keeps `objects` while `run` runs; `on_change` is called for each difference, in order, and must not wait.

    An object that was deleted and made anew under its name is DELETED, then ADDED, also if nobody was listening. What
    the server notes for itself in ``metadata.managedFields`` is left out: it is half of an object's size.
    """

    def __init__(
        self,
        api: KubernetesApi,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        on_change: Callable[[Change], None] = lambda _: None,
        page_size: int = PAGE_SIZE,
        relist_seconds: float = RELIST_SECONDS,
        watch_seconds: int = WATCH_SECONDS,
        silence_seconds_max: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self._api = api
        self._resource = resource
        self._namespace = namespace
        self._label_selector = label_selector
        self._on_change = on_change
        self._page_size = page_size
        self._relist_seconds = relist_seconds
        self._watch_seconds = watch_seconds
        self._silence_seconds_max = silence_seconds_max
        self._clock = clock
        self._sleep = sleep
        self._randomness = randomness
        self._objects: dict[Key, KubernetesObject] = {}
        self._deleted: dict[str, int] = {}
        self._listed_at: float | None = None
        self._tried = asyncio.Event()
        self._failures_in_a_row = 0
        self.objects: Mapping[Key, KubernetesObject] = MappingProxyType(self._objects)
        self.version = "0"
        self.failure: ClusterFailure | None = None
        self.heard_at: float | None = None
        """By `clock`, when the server last said something; how old the copy may be."""

    async def listed(self, *, seconds: float) -> None:
        """Wait until the copy has been complete once; raises what keeps it from that now, or TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._tried.wait()
        if self.heard_at is None and self.failure is not None:
            raise self.failure

    def doubt(self) -> None:
        """Make the next step a full list."""
        self._listed_at = None

    async def run(self) -> None:
        """List and watch until cancelled; whatever fails is tried again, later each time."""
        while True:
            try:
                if self._list_is_due():
                    await self._list()
                await self._watch()
            except ClusterFailure as failure:
                if isinstance(failure, VersionExpired | ClusterSilent | AnswerUnintelligible):
                    self.doubt()
                if self.failure is None:
                    logger.warning("%s of %s: %s", self._resource.plural, self._api.server, failure.message)
                self.failure = failure
                self._tried.set()
                await self._back_off()

    def _list_is_due(self) -> bool:
        return self._listed_at is None or self._clock() - self._listed_at >= self._relist_seconds

    async def _list(self) -> None:
        """Take the whole list as the truth; it is compared only once it is complete."""
        began_at = self._clock()
        found: dict[Key, KubernetesObject] = {}
        version = ""
        for attempt in range(LIST_ATTEMPTS_MAX):
            found.clear()
            # A list in pages can expire half way; the last attempt asks for one piece.
            page_size = None if attempt == LIST_ATTEMPTS_MAX - 1 else self._page_size
            try:
                async for page in self._api.list_pages(
                    self._resource, namespace=self._namespace, label_selector=self._label_selector, page_size=page_size
                ):
                    found.update((_key(item), _trimmed(item)) for item in page.items)
                    version = page.resource_version
                break
            except VersionExpired:
                if attempt == LIST_ATTEMPTS_MAX - 1:
                    raise
        self._replace(found)
        self._deleted.clear()
        self.version = version
        self._listed_at = began_at
        self._heard()
        self._tried.set()

    async def _watch(self) -> None:
        """Follow what happens until the server ends the watch or the next full list is due."""
        began_at = self._clock()
        events = self._api.watch(
            self._resource,
            resource_version=self.version,
            namespace=self._namespace,
            label_selector=self._label_selector,
            seconds=self._watch_seconds,
            silence_seconds_max=self._silence_seconds_max,
        )
        async with aclosing(events):
            async for event in events:
                self._take(event)
                self._heard()
                self._failures_in_a_row = 0
                if self._list_is_due():
                    return
        self._heard()
        if self._clock() - began_at < WATCH_SECONDS_MIN:
            await self._back_off()
        else:
            self._failures_in_a_row = 0

    def _take(self, event: WatchEvent) -> None:
        """Apply one event, unless it is older than what is known: streams repeat themselves after a cut."""
        version = _version(event.object)
        if event.kind is not EventKind.BOOKMARK:
            self._take_object(event.kind, _trimmed(event.object))
        if version > int(self.version):
            self.version = str(version)

    def _take_object(self, kind: EventKind, item: KubernetesObject) -> None:
        key, uid, version = _key(item), _uid(item), _version(item)
        known = self._objects.get(key)
        if version <= self._deleted.get(uid, -1) or (known is not None and version < _version(known)):
            return
        if kind is EventKind.DELETED:
            self._forget(uid, version)
            if known is not None and _uid(known) == uid:
                del self._objects[key]
                self._on_change(Change(EventKind.DELETED, item))
        else:
            self._put(key, item)

    def _replace(self, found: Mapping[Key, KubernetesObject]) -> None:
        for key in [key for key in self._objects if key not in found]:
            self._on_change(Change(EventKind.DELETED, self._objects.pop(key)))
        for key, item in found.items():
            self._put(key, item)

    def _put(self, key: Key, item: KubernetesObject) -> None:
        known = self._objects.get(key)
        if known is not None and _uid(known) != _uid(item):
            self._forget(_uid(known), _version(item))
            del self._objects[key]
            self._on_change(Change(EventKind.DELETED, known))
            known = None
        self._objects[key] = item
        if known is None:
            self._on_change(Change(EventKind.ADDED, item))
        elif _version(known) != _version(item):
            self._on_change(Change(EventKind.MODIFIED, item))

    def _forget(self, uid: str, version: int) -> None:
        self._deleted[uid] = version
        if len(self._deleted) > DELETED_MAX:
            self.doubt()

    def _heard(self) -> None:
        self.heard_at = self._clock()
        self.failure = None

    async def _back_off(self) -> None:
        """Twice as long after each failure, half of it left to chance, so that many clients do not come at once."""
        longest = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2 ** min(self._failures_in_a_row, 16))
        self._failures_in_a_row += 1
        await self._sleep(longest * (0.5 + self._randomness() / 2))


def _key(item: KubernetesObject) -> Key:
    return _metadata(item).get("namespace", ""), _metadata(item)["name"]


def _uid(item: KubernetesObject) -> str:
    uid: str = _metadata(item)["uid"]
    return uid


def _version(item: KubernetesObject) -> int:
    """Versions of one kind are whole numbers that grow: promised since Kubernetes 1.35, and true before."""
    return int(_metadata(item)["resourceVersion"])


def _metadata(item: KubernetesObject) -> dict[str, str]:
    metadata: dict[str, str] = item["metadata"]
    return metadata


def _trimmed(item: KubernetesObject) -> KubernetesObject:
    item["metadata"].pop("managedFields", None)
    return item
