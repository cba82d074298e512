"""The policy in force in this process: read from the tables, held until its version is passed or a role begins or ends.

Two things tell that it was passed. Every request reads the version together with its token, in one statement, so that
no request is decided by an older policy than the database had then, with or without notices. And the triggers notify
`guildhall_policy`, so that this process has the new one ready before the next request asks.

The triggers also write down who and what each version changed (`policy_changes`), so that a process reads no more than
that, all of one moment, and swaps the whole. Policies are read in transactions of their own: inside a mutation's they
would show what may yet be rolled back.
"""

import asyncio
import contextlib
import gc
import logging
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from guildhall.auth.casbin_policy import disagreements
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_changes, load_rules, read_version
from guildhall.db.notify import Listener, listen
from guildhall.db.transaction import Database
from guildhall.errors import Unavailable

CHANNEL = "guildhall_policy"
RETRY_SECONDS = 1.0
COMPARE_SECONDS_BETWEEN = 1.0
"""How long casbin rests between two samples: a version that nobody asked it about is no harm, a busy process is."""
LARGE_SUBJECTS = 10_000
"""From how many people and programs on a policy is kept out of the rounds of Python's garbage collector."""

logger = logging.getLogger(__name__)


class Policies:
    """Holds the newest snapshot that this process has seen. One for each process; `watch` runs beside the server."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: PolicySnapshot | None = None
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._loaded = asyncio.Event()

    async def at_version(self, version: int, *, at: datetime) -> PolicySnapshot:
        """The policy of that version or a later one at that time; read when this process does not hold it yet."""
        held = self._held
        if held is None or held.version < version:
            held = await self._load(version)
        if held.covers(at):
            return held
        self._held = held.succeeded_by(held.rules, at=at)
        return self._held

    async def watch(self) -> None:
        """Follow the notices until cancelled, and have each new version at hand before the next request asks."""
        listener = Listener(
            channel=CHANNEL, noticed=lambda _: self._changed.set(), connected=self._changed.set, lost=lambda: None
        )
        beside = [
            asyncio.create_task(listen(self._database.url, listener)),
            asyncio.create_task(self._compare()),
        ]
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._prepare()
        finally:
            for task in beside:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _prepare(self) -> None:
        try:
            async with self._database.read() as session:
                version = await read_version(session)
            await self._load(version)
        except (Unavailable, SQLAlchemyError) as error:
            # Requests read the version themselves; here we only wait for the database to be back.
            logger.warning("The new policy could not be read yet: %s", error)
            await asyncio.sleep(RETRY_SECONDS)
            self._changed.set()

    async def _compare(self) -> None:
        """Put a sample of new versions to casbin, beside everything else: of many at once, the newest."""
        while True:
            await self._loaded.wait()
            self._loaded.clear()
            assert self._held is not None, "it was loaded"
            snapshot = self._held
            for question in await asyncio.to_thread(disagreements, snapshot):
                logger.error("Compiled policy %s and casbin disagree on %s.", snapshot.version, question)
            await asyncio.sleep(COMPARE_SECONDS_BETWEEN)

    async def _load(self, version: int) -> PolicySnapshot:
        """The snapshot of that version or a later one, of what has changed since the one that is held, or of all."""
        async with self._loading:  # callers who come together wait for one load, and hold no connection meanwhile
            held = self._held
            if held is not None and held.version >= version:
                return held
            async with self._database.read() as session:
                changed = None if held is None else await load_changes(session, held.rules)
                rules = changed or await load_rules(session)  # all, where more has changed than was written down
            if changed is None and len(rules.bindings) >= LARGE_SUBJECTS:
                gc.freeze()  # it has no circles; at a million lines, each full round stood still for two seconds
            at = None if held is None else held.at
            self._held = PolicySnapshot(rules, at=at, before=held)
            self._loaded.set()
            return self._held
