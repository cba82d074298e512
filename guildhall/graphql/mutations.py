"""Mutations: one input, one transaction, one domain call, one payload; this is the wrapper around all of them.

The order of things: who calls; `prepare`, where the network may be used; a transaction with the idempotency key first
and the domain call after it; the commit; and only then the answer, loaded anew. What the caller can mend becomes
`errors` of the payload, a refusal is recorded and becomes a GraphQL error, and what the commit refuses is an error like
any other.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from guildhall.audit.record import record_refusal
from guildhall.auth.authorize import Refused
from guildhall.errors import Conflict, Invalid, NotFound
from guildhall.graphql.answers import problems
from guildhall.graphql.context import Call, Context
from guildhall.graphql.declarations import FieldDeclaration
from guildhall.graphql.idempotency import as_json, keep_answer, require_key, take_key
from guildhall.graphql.inputs import annotations_of
from guildhall.graphql.record import Record
from guildhall.graphql.resolving import Info
from guildhall.graphql.sources import Mutation

MENDABLE = (Invalid, Conflict, NotFound)
"""What becomes `errors` of the payload, because another input would do."""


class AnswerAndRollBack(Exception):
    """Raised by a mutation that only tried (`dryRun`): the answer is given, nothing is stored."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__("rolled back on purpose")
        self.answer = answer


def mutation(
    *,
    permission: str,
    payload: type[Any],
    prepare: Callable[[Context, Any], Awaitable[Any]] | None = None,
    secret: Collection[str] = (),
    description: str | None = None,
) -> Callable[[Callable[..., Awaitable[Mapping[str, Any]]]], Any]:
    """Decorates `async function(call: Call, given: XInput) -> mapping for the payload` in an `extend("Mutation")`.

    The mapping holds ids and JSON only, since it is kept for the same idempotency key. `prepare(context, given)` runs
    before the transaction and may use the network; what it returns is `call.prepared`. `permission` is what the domain
    call asks for, said here for the schema. Keys of the mapping that are `secret` are answered once and never stored.
    """

    def declare(function: Callable[..., Awaitable[Mapping[str, Any]]]) -> FieldDeclaration:
        inputs = [kind for name, kind in annotations_of(function).items() if name not in {"call", "return"}]
        assert len(inputs) == 1, f"{function.__name__}: a mutation takes a call and one input"
        source = Mutation(function, prepare, payload, inputs[0], frozenset(secret))
        return FieldDeclaration(source, permission, description or function.__doc__)

    return declare


def make_mutation(
    field: FieldDeclaration, convert: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Callable[..., Any]:
    """graphql-core's resolver of one mutation."""
    source = field.source
    assert isinstance(source, Mutation)
    payload_name = source.payload.__name__

    async def resolve(root: object, info: Info, **given: Any) -> Record:  # noqa: ANN401 -- the input
        context = info.context
        if isinstance(root, Done):
            return Record(payload_name, root.result())
        try:
            answer = await run_mendable(context, field.graphql_name, source, convert(given)["input"])
        finally:
            context.loaders.forget()
        return Record(payload_name, answer)

    return resolve


@dataclass(frozen=True)
class Done:
    """What came of a mutation that has been run; as the root of a document it is not run again."""

    answer: Mapping[str, Any] | None
    error: Exception | None = None

    def result(self) -> Mapping[str, Any]:
        """The mapping that the payload is resolved from; raises what the mutation raised."""
        if self.error is not None:
            raise self.error
        assert self.answer is not None, "a mutation answers or raises"
        return self.answer


async def run_mendable(context: Context, operation: str, source: Mutation, given: Any) -> Mapping[str, Any]:  # noqa: ANN401 -- its input
    """As `run_mutation`; what the caller can mend becomes the payload's errors."""
    try:
        return await run_mutation(context, operation, source, given)
    except MENDABLE as error:
        return {"errors": problems(error)}


async def run_mutation(context: Context, operation: str, source: Mutation, given: Any) -> Mapping[str, Any]:  # noqa: ANN401 -- its input
    """Do it, in one transaction; returns what the payload is resolved from. Refusals are recorded on their way out."""
    actor = context.actor
    key: str | None = getattr(given, "idempotency_key", None)
    if key is not None:
        require_key(key)
    try:
        prepared = None if source.prepare is None else await source.prepare(context, given)
        async with context.database.transaction() as session:
            call = Call(
                session=session, actor=actor, at=context.at, new_id=context.new_id, services=context.services,
                settings=context.settings, request_id=context.request_id, prepared=prepared,
            )  # fmt: skip
            if key is not None:
                first = await take_key(call, operation, key, given)
                if first is not None:
                    return first
            answer = await source.function(call, given)
            if key is not None:
                kept = {name: value for name, value in answer.items() if name not in source.secret}
                await keep_answer(session, call, operation, key, kept)
    except AnswerAndRollBack as tried:
        return as_json(tried.answer)  # type: ignore[no-any-return]
    except Refused as refusal:
        await record_refusal(context.database, actor, refusal, at=context.at, new_id=context.new_id)
        raise
    return as_json(answer)  # type: ignore[no-any-return]
