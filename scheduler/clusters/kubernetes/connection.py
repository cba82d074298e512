"""One cluster's API server, spoken to in plain dicts.

    credentials = ClusterCredentials(kubeconfig=text)           # None: the account of our own pod
    api = KubernetesApi.connect(credentials, requests_per_second=50, clock=time.monotonic)
    try:
        await api.create(JOBS, {"metadata": {"name": "train-1"}, "spec": {…}}, namespace="team-vision")
        async for page in api.list_pages(PODS, label_selector="app.kubernetes.io/managed-by=guildhall"):
            for pod in page.items: …
        await api.delete(JOBS, "train-1", namespace="team-vision")     # and its pods with it
    except ClusterFailure as failure:                           # the tree atop `failures`: ObjectExists, …
        … failure.code, failure.message
    finally:
        await api.close()

Typed models are never used, because they drop what they do not know. Nothing is repeated here except after a 429, which
the server sends without having done anything: after a `ClusterUnreachable` the caller asks or repeats by name.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Self

import msgspec

from scheduler.clusters.kubernetes.credentials import ClusterCredentials
from scheduler.clusters.kubernetes.failures import AnswerUnintelligible, failure_of_answer
from scheduler.clusters.kubernetes.pacing import Pace
from scheduler.clusters.kubernetes.resources import PODS, KubernetesObject, Resource
from scheduler.clusters.kubernetes.transport import IN_FLIGHT_MAX, UNDECODABLE, Timeouts, Transport

PAGE_SIZE = 500
PAGES_MAX = 10_000
WATCH_SECONDS = 30
SILENCE_SECONDS_MAX = 10.0
"""How much longer than its own end a watch may stay without a word: a server that was frozen sends none at all."""
EVENT_BYTES_MAX = 16 * 1024 * 1024
"""An object of etcd has 1.5 MiB; as JSON in an event it may be a few times as long."""
LOG_LINE_BYTES_MAX = 64 * 1024
LOG_SECONDS_MAX = 60.0
"""How long a log may take that is not followed."""
STRICT = {"fieldValidation": "Strict"}


class Propagation(StrEnum):
    """What becomes of the objects that a deleted one owns. Without it, a Job's pods would stay."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class EventKind(StrEnum):
    """What a watch says of an object; a bookmark carries a version and no object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True)
class Page:
    """Part of a list. The version is the whole list's, so that a watch can go on from any page's."""

    items: list[KubernetesObject]
    resource_version: str


@dataclass(frozen=True)
class WatchEvent:
    """One line of a watch."""

    kind: EventKind
    object: KubernetesObject


@dataclass(frozen=True)
class ClusterVersion:
    """What the server calls itself, and its clock in whole seconds as it answered (None: it said nothing)."""

    git_version: str
    answered_at: datetime | None


class KubernetesApi:
    """The calls; each raises a `ClusterFailure`, and sends nothing for a name that is none (`NameInvalid`)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.server = transport.server

    @classmethod
    def connect(
        cls,
        credentials: ClusterCredentials,
        *,
        requests_per_second: int,
        clock: Callable[[], float],
        timeouts: Timeouts | None = None,
        sharers: Callable[[], int | None] = lambda: 1,
    ) -> Self:
        """A client of one cluster; raises `CredentialsRefused`. Nothing is sent yet; `close` it in the loop of use.

        The requests a second are those of `sharers` such clients together, each in a process of its own.
        """
        pace = Pace(requests_per_second, in_flight_max=IN_FLIGHT_MAX, clock=clock, sharers=sharers)
        return cls(Transport.signed_in(credentials, pace=pace, timeouts=timeouts or Timeouts()))

    async def close(self) -> None:
        """Drop all connections; streams in use break."""
        await self._transport.close()

    async def version(self) -> ClusterVersion:
        """Ask who is there; needs no right beyond being known."""
        answer, headers = await self._transport.call("GET", "/version", {})
        git_version = answer.get("gitVersion")
        if not isinstance(git_version, str):
            raise AnswerUnintelligible(f"{self.server} does not answer as an API server of Kubernetes does.")
        return ClusterVersion(git_version, _moment(headers.get("Date")))

    async def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> KubernetesObject:
        """One object."""
        return await self._call("GET", resource.path(namespace=namespace, name=name), {})

    async def create(
        self, resource: Resource, body: KubernetesObject, *, namespace: str | None = None
    ) -> KubernetesObject:
        """POST an object; a field that the server does not know is `ObjectInvalid`, not lost."""
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return await self._call("POST", resource.path(namespace=namespace), STRICT, body=whole)

    async def apply(
        self, resource: Resource, name: str, body: KubernetesObject, *, manager: str, namespace: str | None = None
    ) -> KubernetesObject:
        """Server-side apply: what `body` says holds, and what it said before and says no more is taken away."""
        metadata = {**body.get("metadata", {}), "name": name}
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body, "metadata": metadata}
        return await self._call(
            "PATCH",
            resource.path(namespace=namespace, name=name),
            {**STRICT, "fieldManager": manager, "force": "true"},
            body=whole,
            content_type="application/apply-patch+yaml",
        )

    async def patch(
        self,
        resource: Resource,
        name: str,
        changes: KubernetesObject | list[KubernetesObject],
        *,
        namespace: str | None = None,
        subresource: str | None = None,
    ) -> KubernetesObject:
        """Change part of an object: a dict is a merge patch (RFC 7386), a list a JSON patch (RFC 6902)."""
        kind = "json-patch" if isinstance(changes, list) else "merge-patch"
        return await self._call(
            "PATCH",
            resource.path(namespace=namespace, name=name, subresource=subresource),
            STRICT,
            body=changes,
            content_type=f"application/{kind}+json",
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        propagation: Propagation = Propagation.BACKGROUND,
        grace_seconds: int | None = None,
        uid: str | None = None,
    ) -> None:
        """Ask for an object's end. With `uid`, an object that has taken its name since is left (`ObjectConflict`)."""
        options: KubernetesObject = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation.value,
        }
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        await self._call("DELETE", resource.path(namespace=namespace, name=name), {}, body=options)

    async def list_pages(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        page_size: int | None = PAGE_SIZE,
    ) -> AsyncGenerator[Page]:
        """The objects as of one version. Between two pages that version may be compacted away: `VersionExpired`.

        With `page_size` None the list comes in one piece, which cannot expire but holds up the loop as it is decoded.
        Objects in lists carry neither `kind` nor `apiVersion`.
        """
        query = _selected(label_selector, field_selector)
        if page_size is not None:
            query["limit"] = str(page_size)
        for _ in range(PAGES_MAX):
            answer = await self._call("GET", resource.path(namespace=namespace), query)
            about = answer.get("metadata") or {}
            yield Page(answer.get("items") or [], about.get("resourceVersion", ""))
            if not about.get("continue"):
                return
            query["continue"] = about["continue"]
        raise AnswerUnintelligible(f"{self.server} sent a list of more than {PAGES_MAX} pages.")

    async def watch(
        self,
        resource: Resource,
        *,
        resource_version: str,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        seconds: int = WATCH_SECONDS,
        silence_seconds_max: float | None = None,
    ) -> AsyncGenerator[WatchEvent]:
        """What happens after that version, with bookmarks, until the server ends the watch after about `seconds`.

        Raises `VersionExpired` where the version is forgotten, which comes as an event of a stream that began well.
        Unless told otherwise, silence of SILENCE_SECONDS_MAX beyond the watch's own end is `ClusterUnreachable`.
        Close the iterator (`aclosing`) where it is not read to its end.
        """
        query = {
            **_selected(label_selector, field_selector),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        silence = seconds + SILENCE_SECONDS_MAX if silence_seconds_max is None else silence_seconds_max
        path = resource.path(namespace=namespace)
        lines = self._transport.lines(path, query, line_bytes_max=EVENT_BYTES_MAX, silence_seconds_max=silence)
        async with aclosing(lines):
            async for line in lines:
                yield self._event(line)

    async def pod_log(
        self,
        name: str,
        *,
        namespace: str,
        container: str | None = None,
        since: datetime | None = None,
        tail_lines: int | None = None,
        previous: bool = False,
        follow_seconds: float | None = None,
    ) -> AsyncGenerator[bytes]:
        """A container's lines, each beginning with the time at which the platform took it in.

        With `follow_seconds` the stream goes on until the container ends or that time is over, and ends without a
        failure in both cases. To go on, ask again from the last line's time: `since` counts in whole seconds, so that
        lines come twice. Close the iterator (`aclosing`) where it is not read to its end.
        """
        query = {"timestamps": "true"}
        if container is not None:
            query["container"] = container
        if since is not None:
            query["sinceTime"] = since.isoformat().replace("+00:00", "Z")
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        if previous:
            query["previous"] = "true"
        if follow_seconds is not None:
            query["follow"] = "true"
        path = PODS.path(namespace=namespace, name=name, subresource="log")
        seconds_max = LOG_SECONDS_MAX if follow_seconds is None else follow_seconds
        lines = self._transport.lines(path, query, line_bytes_max=LOG_LINE_BYTES_MAX, seconds_max=seconds_max)
        async with aclosing(lines):
            async for line in lines:
                yield line

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: object = None,
        content_type: str = "application/json",
    ) -> KubernetesObject:
        answer, _ = await self._transport.call(method, path, query, body=body, content_type=content_type)
        return answer

    def _event(self, line: bytes) -> WatchEvent:
        try:
            event = msgspec.json.decode(line)
            kind, item = event["type"], event["object"]
            if kind != "ERROR":
                int(item["metadata"]["resourceVersion"])
                return WatchEvent(EventKind(kind), item)
            code = item.get("code", 500)
        except (*UNDECODABLE, AttributeError, KeyError, TypeError, ValueError):
            raise AnswerUnintelligible(f"{self.server} sent an event that is none of Kubernetes.") from None
        raise failure_of_answer(code, item, server=self.server, retry_after=None)


def _moment(date: str | None) -> datetime | None:
    """What a Date header says; None where there is none, or none that says which moment is meant."""
    try:
        found = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    # "-0000" is a time of an unknown zone; HTTP knows only GMT.
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _selected(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: selector for key, selector in selectors.items() if selector is not None}
