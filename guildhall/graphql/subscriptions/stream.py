"""From a request to its answers over time: admitted once, looked at after each notice, executed for each change."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from inspect import isawaitable
from typing import Any

from graphql import DocumentNode, ExecutionResult, GraphQLError, OperationType, create_source_event_stream
from graphql import Executor as CoreExecutor

from guildhall.auth.actor import Actor
from guildhall.auth.policy import PolicySnapshot
from guildhall.errors import GuildhallError, Unavailable
from guildhall.graphql.answers import format_error
from guildhall.graphql.context import Context
from guildhall.graphql.documents import RequestRefused, coded
from guildhall.graphql.execution import Answer, Executor, Request, refusal_of
from guildhall.graphql.subscriptions.declaring import Opened
from guildhall.graphql.subscriptions.feed import Feed
from guildhall.graphql.subscriptions.following import Change, Following, Position
from guildhall.graphql.subscriptions.places import Places
from guildhall.graphql.subscriptions.presence import Presence

BATCH_CHANGES_MAX = 50
"""How many changes are executed together: their loaders share statements, and the event loop stands still as long."""

AWAY_SECONDS_MAX = 30.0
"""How long a stream waits for a database that is away, before it ends and leaves the rest to the client."""

AWAY_SECONDS_BETWEEN = 0.5
END_SECONDS_MAX = 5.0
AWAY_CODES = frozenset({"DATABASE_UNAVAILABLE", "DATABASE_BUSY"})

MakeContext = Callable[[Actor], Context]


class _Away(Unavailable):
    """The database went away while a change was executed: it is executed again, not told with holes."""


class Streams:
    """All that is followed in one process. `stopping` is set when the server stops: clients are told to come again."""

    def __init__(self, feed: Feed, executor: Executor, places: Places) -> None:
        self.feed = feed
        self.stopping = asyncio.Event()
        self._executor = executor
        self._places = places
        self._connections = 0
        self._all_gone = asyncio.Event()

    @contextmanager
    def connection(self) -> Iterator[None]:
        """An open connection, which `end` waits for."""
        self._connections += 1
        try:
            yield
        finally:
            self._connections -= 1
            if not self._connections:
                self._all_gone.set()

    async def end(self) -> None:
        """Let every connection end, before the server drops those that are left."""
        self.stopping.set()
        if self._connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), END_SECONDS_MAX)

    async def follow(
        self, request: Request, presence: Presence, make_context: MakeContext
    ) -> AsyncGenerator[Answer, None]:
        """The answers to one request, for a query or a mutation one. An answer that was not executed is the last."""
        context = make_context(presence.actor)
        try:
            document, operation = self._executor.admit(request, context)
            with self._places.take(presence.actor.subject):
                if operation.operation is not OperationType.SUBSCRIPTION:
                    yield await self._executor.run(request, context)
                    return
                opened = await self._open(document, request, context)
                async with aclosing(self._changes(opened, document, request, presence, make_context)) as answers:
                    async for answer in answers:
                        yield answer
        except RequestRefused as refusal:
            yield refusal_of(refusal, context)
        except Exception as error:  # noqa: BLE001 -- told as a refusal, or masked under an id in the log
            message = error.message if isinstance(error, GuildhallError) else str(error)
            refused = GraphQLError(message, original_error=error)
            yield Answer([format_error(refused, new_id=context.new_id)])

    async def _open(self, document: DocumentNode, request: Request, context: Context) -> Opened:
        """What is followed; raises RequestRefused with what graphql-core has against the variables."""
        built = CoreExecutor.build(
            self._executor.composed.schema,
            document,
            context_value=context,
            raw_variable_values=dict(request.variables or {}),
            operation_name=request.operation_name,
        )
        opened: Any = ExecutionResult(None, built) if isinstance(built, list) else create_source_event_stream(built)
        if isawaitable(opened):
            opened = await opened
        if isinstance(opened, ExecutionResult):
            errors = opened.errors or ()
            raise RequestRefused([error if error.path else coded(error, "BAD_USER_INPUT") for error in errors])
        assert isinstance(opened, Opened)
        return opened

    async def _changes(
        self, opened: Opened, document: DocumentNode, request: Request, presence: Presence, make_context: MakeContext
    ) -> AsyncGenerator[Answer, None]:
        """The numbered steps of a stream, until what it follows has ended or the caller may not follow it any more."""
        following = opened.following
        position = _position(opened, make_context(presence.actor))
        allowed: PolicySnapshot | None = None
        away_since: float | None = None
        clock = asyncio.get_running_loop().time
        with self.feed.follow([following.topic, presence.topic]) as follower:
            while True:
                # 1. What is noticed from here on leads to another look.
                follower.clear()
                context = make_context(presence.actor)
                try:
                    # 2. May the caller follow this, under the policy of now?
                    if context.actor.policy is not allowed:
                        await following.require(context)
                        allowed = context.actor.policy
                    # 3. What is new?
                    place = (*following.place(context), position)
                    look = await self.feed.shared(following.topic, place, partial(following.look, context, position))
                    # 4. Tell it, as far as the caller stays who they were.
                    told = self._told(opened, document, request, context, look.changes)
                    async with aclosing(told) as answers:
                        async for change, answer in answers:
                            yield answer
                            position = change.position
                            if presence.actor.policy is not allowed:
                                break
                        else:
                            position = look.position
                    if presence.actor.policy is not allowed:
                        continue
                    if look.ended:
                        return
                    # 5. Wait for the next notice, or until it is time to look without one.
                    if not look.more and not await follower.wait(look.seconds):
                        self.feed.look_anew(following.topic)
                except Unavailable:
                    away_since = away_since or clock()
                    if clock() - away_since > AWAY_SECONDS_MAX:
                        raise
                    await asyncio.sleep(AWAY_SECONDS_BETWEEN)
                else:
                    away_since = None

    async def _told(
        self, opened: Opened, document: DocumentNode, request: Request, context: Context, changes: Sequence[Change]
    ) -> AsyncGenerator[tuple[Change, Answer], None]:
        """Each change as the document shows it."""
        binding = _binding(opened.following, context)
        for start in range(0, len(changes), BATCH_CHANGES_MAX):
            batch = changes[start : start + BATCH_CHANGES_MAX]
            roots = [
                opened.root({**change.values, "cursor": context.signer.sign(binding, change.position)})
                for change in batch
            ]
            answers = await self._executor.answers(document, request, context, roots)
            for change, answer in zip(batch, answers, strict=True):
                if any(error["extensions"]["code"] in AWAY_CODES for error in answer.errors):
                    raise _Away("The database is away.")
                yield change, answer


def _position(opened: Opened, context: Context) -> Position | None:
    """Where the caller's cursor stands; raises InvalidCursor for one of another thing or another caller."""
    if opened.after is None:
        return None
    return tuple(context.signer.open(_binding(opened.following, context), opened.after))


def _binding(following: Following, context: Context) -> bytes:
    subject = context.actor.subject
    return f"subscription {following.name} {subject.kind} {subject.id}".encode()
