"""The worker: cycle after cycle until it is told to stop, woken early when something has changed."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta

from sqlalchemy import exists, select

from guildhall.clock import Clock, IdSource
from guildhall.clock import new_id as new_uuid
from guildhall.db.notify import Listener, listen
from guildhall.db.transaction import Database
from guildhall.keys import load_keyring
from guildhall.settings import Settings
from registry.storage import ArtifactStore
from scheduler.clusters.connections import ClusterConnections, Connect
from scheduler.clusters.executor import Executor
from scheduler.context import SchedulerContext, pass_by
from scheduler.crew import Crew
from scheduler.cycle import run_cycle
from scheduler.jobs.tables import Attempt, Job
from scheduler.sweeps import delete_parts, sweep
from scheduler.telling import telling
from scheduler.waking import WAKE_CHANNEL

SWEEP_EVERY = timedelta(minutes=10)
FAILURE_PAUSE_SECONDS_MAX = 30.0
IDLE_POLLS = 8
"""A worker without any job under way looks by itself so many times less often; who submits one wakes it."""
BREATHS = 2
BREATH_SECONDS_MAX = 1.0
"""A worker that is wanted all the time rests after each cycle twice as long as it took, and no longer than this."""

logger = logging.getLogger(__name__)


async def run_worker(
    database: Database,
    settings: Settings,
    clock: Clock,
    executors: Mapping[str, Executor],
    stop: asyncio.Event,
    *,
    connect: Connect | None = None,
    new_id: IdSource = new_uuid,
    reach: Callable[[str], None] = pass_by,
) -> None:
    """Run cycles until `stop` is set; the one under way is finished. `executors` by cluster, or kind in lower case.

    With `connect` it also serves every registered cluster, through executors that it makes and closes itself.

    A worker looks again after `worker_poll_milliseconds`, or later where no job is under way; a commit that wants it
    wakes it at once. A cycle that fails, as while the database restarts, is logged and tried again with a growing
    pause. `reach` is for tests that kill it at one of `scheduler.context.FAULT_POINTS`.
    """
    store = ArtifactStore.open(settings.artifacts_url)
    poll_seconds = settings.worker_poll_milliseconds / 1000
    pause_seconds = failure_seconds = poll_seconds
    swept_at: datetime | None = None
    async with AsyncExitStack() as ended:
        woken = await ended.enter_async_context(_listening(database, stop))
        crew = await ended.enter_async_context(_counting(database)) if connect is not None else None
        connections = ClusterConnections(
            executors,
            connect,
            keyring=lambda: load_keyring(settings.credentials_key_file),
            woken=woken.set,
            sharers=crew.sharers if crew is not None else lambda: 1,
        )
        ended.push_async_callback(connections.close)
        context = SchedulerContext(
            database=database,
            settings=settings,
            clock=clock,
            new_id=new_id,
            executors=connections,
            reach=reach,
            owner=f"{socket.gethostname()}:{os.getpid()}:{new_id().hex[-8:]}",
        )
        ended.push_async_callback(context.lanes.close)
        await ended.enter_async_context(telling(context))
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            woken.clear()
            began_at = loop.time()
            try:
                await connections.follow(database, at=clock.now(), new_id=new_id)
                await run_cycle(context)
                await delete_parts(context, store)
                if swept_at is None or clock.now() >= swept_at + SWEEP_EVERY:
                    swept_at = clock.now()
                    await sweep(context, store)
                pause_seconds = poll_seconds * (1 if await anything_under_way(database) else IDLE_POLLS)
                failure_seconds = poll_seconds
            except Exception:
                pause_seconds = failure_seconds
                failure_seconds = min(failure_seconds * 2, FAILURE_PAUSE_SECONDS_MAX)
                logger.exception("A cycle of the scheduler failed; the next follows in %.1f seconds.", pause_seconds)
            with contextlib.suppress(TimeoutError):
                # What happens meanwhile is taken together: a cycle costs much the same for one job as for many.
                await asyncio.wait_for(stop.wait(), min(BREATHS * (loop.time() - began_at), BREATH_SECONDS_MAX))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), pause_seconds)


async def anything_under_way(database: Database) -> bool:
    """Whether there is a job that waits, runs or is to be settled, or an attempt that a cluster is to forget."""
    jobs, attempts = exists().where(Job.settled_at.is_(None)), exists().where(Attempt.removed_at.is_(None))
    async with database.read() as session:
        return bool(await session.scalar(select(jobs | attempts)))


@asynccontextmanager
async def _listening(database: Database, stop: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """An event that is set when the scheduler is wanted, and when it should stop."""
    woken = asyncio.Event()
    listener = Listener(channel=WAKE_CHANNEL, noticed=lambda _: woken.set(), connected=woken.set, lost=lambda: None)

    async def pass_on_stop() -> None:
        await stop.wait()
        woken.set()

    tasks = [asyncio.create_task(listen(database.url, listener)), asyncio.create_task(pass_on_stop())]
    try:
        yield woken
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _counting(database: Database) -> AsyncIterator[Crew]:
    """Be counted as one of the workers for as long as the block."""
    crew = Crew()
    task = asyncio.create_task(crew.run(database.url))
    try:
        yield crew
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
