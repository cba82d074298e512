"""One answer: a plan is bound to a request, its statement is fetched, and the text is finished."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from guildhall.graphql.compiler.fragments import Fragment
from guildhall.graphql.compiler.plan import Plan
from guildhall.graphql.compiler.python_fields import Called, objects_text
from guildhall.graphql.compiler.result import Marks, calls_in, is_finished
from guildhall.graphql.compiler.runs import FallBack, Run
from guildhall.graphql.compiler.writer import SEPARATOR, Statement, write_items, write_statement
from guildhall.graphql.recording import Reads

STATEMENTS_MAX = 32
"""How many statements a plan keeps: one for each shape of caller, filter and order."""

Fetch: TypeAlias = Callable[[str, Sequence[Any]], Awaitable[str | None]]
"""Runs a statement with its arguments (`$1`, …) and gives the one text that it returns."""


@dataclass(frozen=True)
class Finisher:
    """Finishes the text of a statement without Python; `reads` holds afterwards what is to be recorded."""

    plan: Plan
    run: Run
    fragments: Sequence[Fragment]
    reads: Reads

    def finish(self, text: str) -> str:
        """The JSON text of `data`; raises FallBack where graphql-core must answer."""
        if is_finished(text):
            return text
        return Marks(self.plan, self.run, self.fragments, self.reads, {}).replaced(text)


@dataclass(frozen=True)
class Bound:
    """One statement with the values of one request. Its text is the same for all requests of that shape."""

    sql: str
    arguments: Sequence[Any]
    finisher: Finisher


def bind(plan: Plan, run: Run, words: frozenset[str]) -> Bound:
    """The statement of a plan in which no field is Python's."""
    fragments = [source(run) for source in plan.slots]
    statement = statement_of(plan, fragments, lambda: write_statement(plan, fragments, words))
    return Bound(statement.text, statement.arguments(run, fragments), Finisher(plan, run, fragments, Reads()))


class Answering:
    """The answer to one request; `reads` holds afterwards what is to be recorded before it leaves."""

    def __init__(self, run: Run, words: frozenset[str], fetch: Fetch, reads: Reads) -> None:
        self._run = run
        self._words = words
        self._fetch = fetch
        self._reads = reads

    async def text(self, plan: Plan) -> str:
        """The JSON text of the root; raises FallBack where graphql-core must answer."""
        await self._prepare(plan)
        bound = bind(plan, self._run, self._words)
        found = await self._fetch(bound.sql, bound.arguments)
        assert found is not None, "a root is always there"
        return found if is_finished(found) else await self._finished(plan, bound.finisher.fragments, found)

    async def _prepare(self, plan: Plan) -> None:
        for prepared in plan.prepared:
            if prepared not in self._run.given:
                self._run.given[prepared] = await prepared.value(self._run)

    async def _finished(self, plan: Plan, fragments: Sequence[Fragment], text: str) -> str:
        said: dict[str, str] = {}
        if plan.called:
            for number, payloads in calls_in(text).items():
                called, below = plan.called[number]
                texts = await self._called(called, below, payloads)
                said |= {f"{number}|{payload}": one for payload, one in zip(payloads, texts, strict=True)}
        return Marks(plan, self._run, fragments, self._reads, said).replaced(text)

    async def _called(self, called: Called, below: Plan | None, payloads: Sequence[str]) -> list[str]:
        """What a function says of each payload, as JSON text."""
        values = await called.values(self._run, payloads)
        if below is None:
            return [called.text(value) for value in values]
        lists = [_objects(called, value) for value in values]
        flat = [item for items in lists for item in items]
        texts = iter(await self._items(below, flat))
        written = [[next(texts) for _ in items] for items in lists]
        if called.source.many:
            return [f"[{','.join(items)}]" for items in written]
        return [items[0] if items else "null" for items in written]

    async def _items(self, plan: Plan, objects: Sequence[Any]) -> list[str]:
        """Each object as the document selects of it, by one statement."""
        if not objects:
            return []
        await self._prepare(plan)
        self._run.given[plan] = objects_text(objects)
        fragments = [source(self._run) for source in plan.slots]
        statement = statement_of(plan, fragments, lambda: write_items(plan, fragments, self._words))
        found = await self._fetch(statement.text, statement.arguments(self._run, fragments))
        assert found is not None, "there are objects"
        text = found if is_finished(found) else await self._finished(plan, fragments, found)
        return text.split(SEPARATOR)


def statement_of(plan: Plan, fragments: Sequence[Fragment], write: Callable[[], Statement]) -> Statement:
    """The plan's statement for these shapes, written when it is first needed."""
    shape = tuple(made.shape for made in fragments)
    found: Statement | None = plan.statements.get(shape)
    if found is None:
        found = plan.statements[shape] = write()
        if len(plan.statements) > STATEMENTS_MAX:
            plan.statements.popitem(last=False)
    return found


def _objects(called: Called, value: Any) -> Sequence[Any]:  # noqa: ANN401 -- as Python gave it
    if value is None:
        if not called.source.many and not called.source.nullable:
            raise FallBack
        return ()
    return value if called.source.many else (value,)
