"""What a piece of work asked the database and how long each statement took, so that what is slow can be told."""

import time
from contextvars import ContextVar, Token
from typing import Any

import msgspec
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

STATEMENTS_MAX = 50
"""How many are kept of one piece of work, the slowest first to be told."""

_noted: ContextVar["StatementTimes | None"] = ContextVar("statement_times", default=None)


class StatementTimes(msgspec.Struct):
    """(seconds, SQL without its values) of the statements so far, and how many were not kept."""

    found: list[tuple[float, str]] = msgspec.field(default_factory=list)
    more: int = 0

    def add(self, seconds: float, statement: str) -> None:
        """One statement has ended."""
        if len(self.found) < STATEMENTS_MAX:
            self.found.append((seconds, statement))
        else:
            self.more += 1


class StatementsTimed:
    """Notes every statement of its block, also of the tasks that it starts."""

    __slots__ = ("_token",)

    _token: Token[StatementTimes | None]

    def __enter__(self) -> StatementTimes:
        times = StatementTimes()
        self._token = _noted.set(times)
        return times

    def __exit__(self, *_: object) -> None:
        _noted.reset(self._token)


class Timed:
    """Its block is one statement, for connections that no engine knows."""

    __slots__ = ("_began", "_statement", "_times")

    _began: float
    _times: StatementTimes | None

    def __init__(self, statement: str) -> None:
        self._statement = statement

    def __enter__(self) -> None:
        self._times = _noted.get()
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if self._times is not None:
            self._times.add(time.perf_counter() - self._began, self._statement)


def time_statements(engine: AsyncEngine) -> None:
    """Have the engine's statements noted where somebody asks for it."""

    def before(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:  # noqa: ANN401
        context.guildhall_began = time.perf_counter()

    def after(_connection: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool) -> None:  # noqa: ANN401
        times = _noted.get()
        if times is not None:
            times.add(time.perf_counter() - context.guildhall_began, statement)

    event.listen(engine.sync_engine, "before_cursor_execute", before)
    event.listen(engine.sync_engine, "after_cursor_execute", after)
