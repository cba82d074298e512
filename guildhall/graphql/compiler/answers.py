"""One answer: a plan is bound to a request, its statement is fetched, and the text is finished."""

from collections.abc import Awaitable, Callable, Sequence
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

Write: TypeAlias = Callable[[Plan, Sequence[Fragment], frozenset[str]], Statement]


class Answering:
    """The answer to one request; `reads` holds afterwards what is to be recorded before it leaves."""

    def __init__(self, run: Run, words: frozenset[str], fetch: Fetch, reads: Reads) -> None:
        self._run = run
        self._words = words
        self._fetch = fetch
        self._reads = reads

    async def text(self, plan: Plan) -> str:
        """The JSON text of the root; raises FallBack where graphql-core must answer."""
        found = await self._fetched(plan, write_statement)
        assert found is not None, "a root is always there"
        return found

    async def _prepare(self, plan: Plan) -> None:
        for prepared in plan.prepared:
            self._run.given[prepared] = await prepared.value(self._run)

    async def _fetched(self, plan: Plan, write: Write) -> str | None:
        """The finished text of a plan's statement."""
        if plan.prepared:
            await self._prepare(plan)
        fragments = [source(self._run) for source in plan.slots]
        statement = statement_of(plan, fragments, lambda: write(plan, fragments, self._words))
        found = await self._fetch(statement.text, statement.arguments(self._run, fragments))
        return found if found is None or is_finished(found) else await self._finished(plan, found)

    async def _finished(self, plan: Plan, text: str) -> str:
        said: dict[str, str] = {}
        if plan.called:
            for number, payloads in calls_in(text).items():
                called, below = plan.called[number]
                texts = await self._called(called, below, payloads)
                said |= {f"{number}|{payload}": one for payload, one in zip(payloads, texts, strict=True)}
        return Marks(plan, self._run, self._reads, said).replaced(text)

    async def _called(self, called: Called, below: Plan | None, payloads: Sequence[str]) -> list[str]:
        """What a function says of each payload, as JSON text."""
        values = await called.values(self._run, payloads)
        if below is None:
            return [called.text(value) for value in values]
        lists = [_objects(called, value) for value in values]
        flat = [item for items in lists for item in items]
        texts = iter(await self.items(below, flat))
        written = [[next(texts) for _ in items] for items in lists]
        if called.source.many:
            return [f"[{','.join(items)}]" for items in written]
        return [items[0] if items else "null" for items in written]

    async def items(self, plan: Plan, objects: Sequence[Any]) -> list[str]:
        """Each object as the document selects of it, by one statement."""
        if not objects:
            return []
        self._run.given[plan] = objects_text(objects)
        found = await self._fetched(plan, write_items)
        assert found is not None, "there are objects"
        return found.split(SEPARATOR)


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
