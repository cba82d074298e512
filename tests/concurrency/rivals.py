"""Two transactions at the same rows, the rival forced in at the line: it must wait, and then see what was decided."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from sqlalchemy import text

from guildhall.db.transaction import Database, WriteSession

Answer = TypeVar("Answer")

POLLS_MAX = 500
POLL_SECONDS = 0.01


class Rival(Generic[Answer]):
    """Another client's transaction, running in a task of its own."""

    def __init__(self, database: Database, operation: Callable[..., Awaitable[Answer]], values: dict[str, Any]) -> None:
        self._database = database
        self._operation = operation
        self._values = values
        self._pid = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> Answer:
        async with self._database.transaction() as session:
            self._pid.set_result(await session.scalar(text("SELECT pg_backend_pid()")))
            return await self._operation(session, **self._values)

    async def waits(self) -> None:
        """Return when the rival stands at a lock; a rival that got through is a failure."""
        pid = await self._pid
        for _ in range(POLLS_MAX):
            assert not self._task.done(), "the rival did not wait"
            async with self._database.read() as session:
                waiting = await session.scalar(
                    text("SELECT cardinality(pg_blocking_pids(CAST(:pid AS integer))) > 0"), {"pid": pid}
                )
            if waiting:
                return
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError("the rival neither waits nor ends")

    async def answer(self) -> Answer:
        """What the rival got in the end."""
        return await self._task


@asynccontextmanager
async def open_transaction(database: Database, *, commit: bool = True) -> AsyncIterator[WriteSession]:
    """A transaction that is decided when the block ends: rivals started inside must wait until then."""
    async with WriteSession(database.engine, expire_on_commit=False, info=database.session_info) as session:
        transaction = await session.begin()
        yield session
        await (transaction.commit() if commit else transaction.rollback())
