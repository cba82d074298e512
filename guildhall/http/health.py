"""Is the process alive, can it work, and what does it count."""

import contextlib
import os

from litestar import Response, get
from litestar.datastructures import State
from prometheus_client import CONTENT_TYPE_LATEST, Metric
from prometheus_client.core import GaugeMetricFamily

from guildhall.audit.stream_cursor import STREAM, read_progress
from guildhall.db.opening import require_newest_revision
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError, Unavailable
from guildhall.http.watching import Metrics
from scheduler.clusters.registration import read_cluster_states

DATABASE_KEY = "database"
METRICS_KEY = "metrics"
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Prometheus' own variable: the folder of several processes that count together."""


@get("/healthz", include_in_schema=False, sync_to_thread=False)
def healthz_route() -> dict[str, str]:
    """The process answers; nothing else is asked."""
    return {"status": "alive"}


@get("/readyz", include_in_schema=False)
async def readyz_route(state: State) -> Response[dict[str, str]]:
    """The database answers and is at the revision of this program; 503 and the reason otherwise.

    Where the audit record is streamed, it says how many events wait; they may, so that is no reason not to be ready.
    """
    database = state[DATABASE_KEY]
    assert isinstance(database, Database)
    try:
        await require_newest_revision(database)
        async with database.read() as session:
            progress = await read_progress(session)
    except GuildhallError as error:
        return Response({"status": "not ready", "reason": error.message}, status_code=503)
    stream = {} if progress is None else {"audit_stream_waiting": str(progress.waiting)}
    return Response({"status": "ready", **stream})


@get("/metrics", include_in_schema=False)
async def metrics_route(state: State) -> Response[bytes]:
    """Prometheus' text format. What the database knows is left out while that is away."""
    metrics, database = state[METRICS_KEY], state[DATABASE_KEY]
    assert isinstance(metrics, Metrics)
    assert isinstance(database, Database)
    known: list[Metric] = []
    with contextlib.suppress(Unavailable):
        async with database.read() as session:
            progress = await read_progress(session)
        if progress is not None:
            waiting = GaugeMetricFamily(
                "guildhall_audit_stream_waiting",
                "Sealed audit events that the receiver of the stream has not taken.",
                labels=["stream"],
            )
            waiting.add_metric([STREAM], progress.waiting)
            known.append(waiting)
        clusters = GaugeMetricFamily(
            "guildhall_cluster_state", "1 for the state that a cluster is in.", labels=["cluster", "state"]
        )
        for name, cluster_state in (await read_cluster_states(database)).items():
            clusters.add_metric([name, cluster_state], 1)
        known.append(clusters)
    text = metrics.text(known, shared=os.environ.get(METRICS_FOLDER))
    return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})
