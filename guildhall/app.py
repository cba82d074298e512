"""The application: every route of every package on one Litestar, and what lives as long as the process does."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
from litestar import Litestar
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from guildhall.audit.outcomes import Conclusions
from guildhall.auth.attempts import Attempts
from guildhall.auth.policies import Policies
from guildhall.auth.standing import Recognised
from guildhall.clock import Clock, IdSource, SteadyClock
from guildhall.clock import new_id as fresh_id
from guildhall.db.kept_statements import KeptStatements
from guildhall.db.transaction import Database
from guildhall.graphql.compiler.coverage import coverage_of
from guildhall.graphql.context import Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.execution import Executor
from guildhall.graphql.subscriptions.feed import Feed
from guildhall.graphql.subscriptions.places import Places
from guildhall.graphql.subscriptions.stream import Streams
from guildhall.graphql.trusted import load_trusted_documents
from guildhall.http import audit_report, failures, graphql, health, login, tlog
from guildhall.http.attempts import SharedAttempts
from guildhall.http.door import Door
from guildhall.http.graphiql_page import asset_route
from guildhall.http.hot_path import HotPath
from guildhall.http.identity import Identity
from guildhall.http.landing import landing_route
from guildhall.http.proxies import BehindProxies
from guildhall.http.requests import RequestReader
from guildhall.http.signing_in import SignInDesk
from guildhall.http.watching import Metrics, Watch
from guildhall.http.websocket import GraphQLSockets
from guildhall.keys import load_key
from guildhall.schema.root import composed_schema
from guildhall.settings import Settings
from registry.artifacts.bundles import BundleLimits
from registry.artifacts.tickets import UploadTickets
from registry.http import desk as artifact_desk
from registry.http.routes import ROUTES as ARTIFACT_ROUTES
from registry.minimisation.filtering import Minimiser
from registry.storage import ArtifactStore
from scheduler.clusters.kubernetes.probing import KubernetesProber
from scheduler.clusters.probing import ClusterProber
from scheduler.http import desk as runner_desk
from scheduler.http.runner import ROUTES as RUNNER_ROUTES
from scheduler.runs.staging import JOB_INPUTS

logger = logging.getLogger(__name__)

OWN_ROUTES = [
    asset_route, landing_route, health.healthz_route, health.readyz_route, health.metrics_route,
]  # fmt: skip

_CALLS = frozenset({ScopeType.HTTP, ScopeType.WEBSOCKET})


class Application:
    """The ASGI application, and what must be done before its server stops."""

    def __init__(self, asgi: ASGIApp, streams: Streams) -> None:
        self._asgi = asgi
        self._streams = streams
        self._begin: Callable[[], None] | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One exchange, or the lifespan."""
        if self._begin is not None and scope["type"] not in _CALLS:  # the lifespan, which Litestar's types leave out
            send = _telling(send, self._begin)
        return self._asgi(scope, receive, send)

    def on_start(self, begin: Callable[[], None]) -> None:
        """Have this called when the application has started, right before its server is told so."""
        self._begin = begin

    async def end_streams(self) -> None:
        """Tell every client that follows something to connect again; servers drop what is open, or wait for its end."""
        await self._streams.end()


def _telling(send: Send, begin: Callable[[], None]) -> Send:
    async def tell(message: Message) -> None:
        if str(message["type"]) == "lifespan.startup.complete":
            begin()
        await send(message)

    return tell


def create_app(
    settings: Settings,
    database: Database,
    clock: Clock,
    *,
    new_id: IdSource = fresh_id,
    prober: ClusterProber | None = None,
    issuer_transport: httpx.AsyncBaseTransport | None = None,
) -> Application:
    """An application on an open database, which the caller closes after it. Holds no state that another could miss."""
    key = load_key(settings.secret_key_file)
    policies = Policies(database)
    clock = SteadyClock(clock)
    attempts = SharedAttempts(
        remembered=Attempts(settings.failed_sign_ins_per_minute), database=database, clock=clock, new_id=new_id
    )
    signing_in = SignInDesk.from_settings(settings, database, clock, new_id, key=key, transport=issuer_transport)
    identity = Identity(
        database=database, policies=policies, clock=clock, attempts=attempts, signing_in=signing_in,
        public_url=settings.public_url,
    )  # fmt: skip
    store = ArtifactStore.open(settings.artifacts_url)
    tickets = UploadTickets(key)
    services = Services().add(ArtifactStore, store).add(UploadTickets, tickets)
    prober = prober or KubernetesProber(now=clock.now)
    services.add(ClusterProber, prober)  # type: ignore[type-abstract]  # found by the protocol that it follows
    metrics = Metrics()
    statements, conclusions = _kept(settings, database)
    executor = _executor(settings, database, statements)
    streams = _streams(settings, database, executor, metrics)
    reader = RequestReader(settings, load_trusted_documents(only=settings.graphql_trusted_only))
    desk = graphql.GraphQLDesk(
        database=database, identity=identity, executor=executor, reader=reader,
        door=Door(working_max=settings.graphql_working_max, waiting_max=settings.graphql_waiting_max),
        settings=settings, clock=clock, new_id=new_id, services=services, signer=CursorSigner(key), metrics=metrics,
        streams=streams, recognised=Recognised(),
    )  # fmt: skip
    sockets = GraphQLSockets(
        streams=streams, identity=identity, settings=settings, read_request=reader.from_body,
        make_context=desk.context, new_id=new_id,
    )  # fmt: skip

    others = Litestar(
        route_handlers=[
            *OWN_ROUTES,
            *login.ROUTES,
            *tlog.ROUTES,
            *audit_report.ROUTES,
            *ARTIFACT_ROUTES,
            *RUNNER_ROUTES,
        ],
        exception_handlers={HTTPException: failures.refuse, Exception: failures.mask},
        lifespan=[_watching(policies, streams, identity)],
        state=_state(
            settings,
            database,
            clock,
            new_id,
            identity=identity,
            store=store,
            tickets=tickets,
            metrics=metrics,
            conclusions=conclusions,
        ),
        openapi_config=None,
        logging_config=None,  # the program sets up logging; Litestar would replace its handlers
    )
    hot_path = HotPath(graphql.GraphQLEndpoint(desk), sockets, others)
    return Application(BehindProxies(Watch(hot_path, metrics, new_id), settings.trusted_proxies), streams)


def _kept(settings: Settings, database: Database) -> tuple[KeptStatements, Conclusions]:
    """The connections that keep their statements, and what writes by them to its end before they are closed."""
    statements = KeptStatements(
        database.url,
        connections_max=settings.database_kept_connections,
        statement_seconds=settings.database_statement_seconds,
    )
    conclusions = Conclusions(statements, database.session_info)
    database.close_with(conclusions.flush)
    return statements, conclusions


def _executor(settings: Settings, database: Database, statements: KeptStatements) -> Executor:
    composed = composed_schema()
    logger.info("%s", coverage_of(composed.schema, composed.catalogue).sentence())
    executor = Executor(composed, settings, statements)
    database.close_with(executor.finish)
    database.close_with(statements.close)
    return executor


def _streams(settings: Settings, database: Database, executor: Executor, metrics: Metrics) -> Streams:
    places = Places(
        places_max=settings.graphql_subscriptions_max,
        per_caller_max=settings.graphql_subscriptions_per_caller_max,
        tell=metrics.streams.set,
    )
    return Streams(Feed(database.url), executor, places)


def _watching(
    policies: Policies, streams: Streams, identity: Identity
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """What listens as long as the application lives."""

    @asynccontextmanager
    async def watch(_: Litestar) -> AsyncIterator[None]:
        watching = [
            asyncio.create_task(policies.watch(), name="policy watch"),
            asyncio.create_task(streams.feed.run(), name="feed"),
            asyncio.create_task(identity.attempts.tell(), name="failed sign-ins"),
            asyncio.create_task(identity.signing_in.keep_keys(), name="the issuer's keys"),
        ]
        try:
            yield
        finally:
            for task in watching:
                task.cancel()
            await asyncio.wait(watching)

    return watch


def _state(
    settings: Settings,
    database: Database,
    clock: Clock,
    new_id: IdSource,
    *,
    identity: Identity,
    store: ArtifactStore,
    tickets: UploadTickets,
    metrics: Metrics,
    conclusions: Conclusions,
) -> State:
    """What the routes behind Litestar need, under the keys that they look for."""
    minimiser = Minimiser(database, store, clock)
    database.close_with(minimiser.close)
    return State(
        {
            health.DATABASE_KEY: database,
            health.METRICS_KEY: metrics,
            audit_report.STATE_KEY: audit_report.AuditDesk(database=database, identity=identity, new_id=new_id),
            login.STATE_KEY: login.LoginDesk(
                identity=identity, signing_in=identity.signing_in, attempts=identity.attempts, settings=settings
            ),
            artifact_desk.STATE_KEY: artifact_desk.ArtifactDesk(
                database=database,
                store=store,
                minimiser=minimiser,
                tickets=tickets,
                conclusions=conclusions,
                job_inputs=JOB_INPUTS,
                clock=clock,
                new_id=new_id,
                part_bytes=settings.upload_part_bytes,
                bundle_limits=BundleLimits(files_max=settings.bundle_files_max, bytes_max=settings.bundle_bytes_max),
                identify=identity.actor,
                still=identity.still,
            ),
            runner_desk.STATE_KEY: runner_desk.RunnerDesk(
                database=database,
                store=store,
                minimiser=minimiser,
                tickets=tickets,
                settings=settings,
                clock=clock,
                new_id=new_id,
                identify=identity.actor,
            ),
        }
    )
