"""Around every request: its id and its trace in and out, its place in the metrics, one line in the log."""

import logging
import re
import time
from collections.abc import Awaitable, Iterable, Sequence

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from guildhall.clock import IdSource
from guildhall.http.headers import headers_of
from guildhall.http.identity import REQUEST_ID
from guildhall.http.trace_context import trace_of

logger = logging.getLogger("guildhall.requests")

_GIVEN_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Those with a series of their own: a caller may send any word as a method."""
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What this process counts. Where it is one of several, Prometheus' library keeps the counts in files of theirs.

    A registry of its own, so that two applications do not clash.
    """

    def __init__(self) -> None:
        self._counted = CollectorRegistry()
        self.requests = Counter(
            "guildhall_http_requests", "Answered requests.", ["method", "route", "status"], registry=self._counted
        )
        self.seconds = Histogram(
            "guildhall_http_request_seconds", "Time to the last byte of an answer.", ["method", "route"],
            buckets=_BUCKETS, registry=self._counted,
        )  # fmt: skip
        self.graphql_answers = Counter(
            "guildhall_graphql_answers", "GraphQL answers by what made them.", ["made_by"], registry=self._counted
        )
        self.by_statement = self.graphql_answers.labels("a statement")
        self.by_graphql_core = self.graphql_answers.labels("graphql-core")
        self.streams = Gauge(
            "guildhall_graphql_streams", "Subscriptions that are followed now.", registry=self._counted,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.graphql_errors = Counter(
            "guildhall_graphql_errors", "Errors in GraphQL answers by their code.", ["code"], registry=self._counted
        )

    def text(self, known: Sequence[Metric], *, shared: str | None) -> bytes:
        """What Prometheus reads at /metrics: the counts of all processes that share a folder, and what else is known.

        What is known is of the database, so any process may tell it.
        """
        registry = self._counted
        if shared is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, shared)  # type: ignore[no-untyped-call]
        others = CollectorRegistry()
        others.register(_Known(known))
        return generate_latest(registry) + generate_latest(others)


class _Known(Collector):
    """Figures that are there already."""

    def __init__(self, known: Sequence[Metric]) -> None:
        self._known = known

    def collect(self) -> Iterable[Metric]:
        return self._known


class Watch:
    """ASGI middleware. A harmless id that the client sent is taken over, so that both logs can be joined."""

    def __init__(self, app: ASGIApp, metrics: Metrics, new_id: IdSource) -> None:
        self._app = app
        self._metrics = metrics
        self._new_id = new_id
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass everything on, and note the status on its way back."""
        if scope["type"] == ScopeType.HTTP:
            return self._exchange(scope, receive, send)
        return self._app(scope, receive, send)

    async def _exchange(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        given, fresh = headers.get(b"x-request-id", b"").decode("latin-1"), self._new_id()
        key = given if given and _GIVEN_ID.fullmatch(given) else str(fresh)
        trace = trace_of(headers.get(b"traceparent", b"").decode("latin-1"), fresh)
        about = ((b"x-request-id", key.encode("ascii")), (b"traceresponse", trace.header().encode("ascii")))
        scope["state"][REQUEST_ID] = key
        status = 500
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *about]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            route = scope.get("path_template") or "other"
            method = scope["method"] if scope["method"] in _METHODS else "other"
            counted, timed = self._series_of(method, route, status)
            counted.inc()
            timed.observe(seconds)
            line = "%s %s %s %.1f ms request=%s trace=%s"
            logger.info(line, scope["method"], scope["path"], status, seconds * 1000, key, trace.trace_id)

    def _series_of(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """As many as there are methods, routes and statuses, none of which a caller can make up."""
        found = self._series.get((method, route, status))
        if found is None:
            metrics = self._metrics
            found = metrics.requests.labels(method, route, str(status)), metrics.seconds.labels(method, route)
            self._series[method, route, status] = found
        return found
