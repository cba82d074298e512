"""Many documents one after the other, by all viewers in turn, and what came of them."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from graphql import GraphQLInterfaceType, GraphQLObjectType, get_named_type

from guildhall.graphql.compose import Composed
from guildhall.graphql.execution import Executor
from tests.guildhall.graphql.oracle.comparing import (
    Answer,
    Outcome,
    Tally,
    compare,
    cursors_of,
    executor_answer,
    oracle_answer,
    reduced,
    watched_fields,
    with_cursors,
)
from tests.guildhall.graphql.oracle.documents import Document
from tests.guildhall.graphql.oracle.generator import Generator
from tests.guildhall.graphql.oracle.world import Viewer, World

PAGED_SHARE = 0.5
"""How many of the documents that can be paged on are asked for the next page, too."""

AGAIN_SHARE = 0.8
"""How many of the documents that have other variables for another time are asked again with them."""

TOO_COSTLY, TOO_COSTLY_SHARE = "QUERY_TOO_COSTLY", 0.1
"""How many of the documents that the limit refuses count; they say nothing of the fields in them."""


@dataclass
class Rounds:
    """Documents of one seed on one world, one after the other."""

    world: World
    composed: Composed
    seed: int
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.oracle = oracle_answer(Executor(self.composed, self.world.settings))
        self._compiled = self.compiled()
        self._draw = random.Random(self.seed)
        self._generator = Generator(self.composed.schema, self.world.known, self.seed)
        self._generator.refused.update({viewer.name: self._refused(viewer) for viewer in self.world.viewers})
        self._next: tuple[Viewer, Document] | None = None

    async def outcome(self) -> Outcome:
        """What comes of the next document; some are the one before once more."""
        while True:
            viewer = self._draw.choice(self.world.viewers)
            follows, asked = self._next is not None, self._next or (viewer, self._generator.document(viewer.name))
            with watched_fields(self.composed.schema) as watched:
                outcome = await self.both(*asked, self._compiled)
            self._generator.resolved.update(watched.reached)
            self._generator.refused[outcome.viewer.name] |= watched.refused
            if TOO_COSTLY in outcome.codes and self._draw.random() > TOO_COSTLY_SHARE:
                continue
            self.tally.add(outcome, watched.reached)
            self._generator.cursors = [*self._generator.cursors, *cursors_of(outcome)][-20:]
            self._next = None if follows else self._following(outcome, self._draw)
            return outcome

    def _following(self, outcome: Outcome, draw: random.Random) -> tuple[Viewer, Document] | None:
        """The same document once more, of which everything is kept by now: with other variables, or one page on."""
        again, paged = outcome.document.again, with_cursors(outcome.document, outcome.oracle)
        if again is not None and draw.random() < AGAIN_SHARE:
            return outcome.viewer, again
        return (outcome.viewer, paged) if paged is not None and draw.random() < PAGED_SHARE else None

    def _refused(self, viewer: Viewer) -> set[str]:
        """The fields whose permission the viewer holds nowhere."""
        catalogue = self.composed.catalogue
        return {
            f"{declared.name}.{field.graphql_name}"
            for declared in catalogue.types.values()
            for field in declared.fields.values()
            if catalogue.is_guarded(declared, field) and not viewer.actor.may_somewhere(str(field.permission))
        }

    def compiled(self) -> Answer:
        """What the product answers; made anew, it has compiled nothing yet."""
        return executor_answer(Executor(self.composed, self.world.settings, self.world.statements))

    async def both(self, viewer: Viewer, document: Document, compiled: Answer) -> Outcome:
        """One document, both ways."""
        return await compare(self.world, viewer, document, self.oracle, compiled)

    async def smallest(self, outcome: Outcome) -> str:
        """What differs, in as few words as can be."""
        compiled = self.compiled()

        async def both(document: Document) -> Outcome:
            """As it was met: once before with its own variables, where these are others."""
            if document.overrides:
                await compiled(self.world, outcome.viewer, replace(document, overrides={}))
            return await self.both(outcome.viewer, document, compiled)

        found = await reduced(outcome, both)
        return found.told()

    def shares(self) -> dict[str, float]:
        """Of all documents, and of all fields that a statement can answer."""
        tally, compilable = self.tally, compilable_fields(self.composed)
        return {
            "without errors": tally.without_errors / tally.documents,
            "compiled": tally.compiled / tally.documents,
            "fields reached": len(tally.reached_compiled & compilable) / len(compilable),
        }

    def unreached(self) -> list[str]:
        """The fields that no statement has answered."""
        return sorted(compilable_fields(self.composed) - self.tally.reached_compiled)

    def told(self) -> str:
        """The shares in one line."""
        shown = ", ".join(f"{name} {share:.1%}" for name, share in self.shares().items())
        return f"\noracle: {self.tally.documents} documents: {shown}"


class Heard:
    """The first documents of some rounds with both answers, kept: more are asked when somebody looks further."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds
        self._outcomes: list[Outcome] = []

    async def between(self, begin: int, end: int) -> Sequence[Outcome]:
        """Those with these numbers."""
        while len(self._outcomes) < end:
            self._outcomes.append(await self.rounds.outcome())
        return self._outcomes[begin:end]

    async def replayed(self, outcomes: Iterable[Outcome]) -> int | None:
        """How many are answered by our side, as it is now, before one is answered otherwise; None where all are equal.

        What graphql-core said is kept, so it is not asked again.
        """
        compiled = self.rounds.compiled()
        for number, outcome in enumerate(outcomes):
            again = await compiled(self.rounds.world, outcome.viewer, outcome.document)
            if not replace(outcome, compiled=again).equal:
                return number
        return None


def compilable_fields(composed: Composed) -> set[str]:
    """The coordinates that queries can reach."""
    query = composed.schema.query_type
    assert query is not None, "the schema can be asked"
    found: set[str] = set()
    waiting: list[GraphQLObjectType] = [query]
    seen = {query.name}
    while waiting:
        type_ = waiting.pop()
        for name, definition in type_.fields.items():
            found.add(f"{type_.name}.{name}")
            for target in _objects(composed, get_named_type(definition.type)):
                if target.name not in seen:
                    seen.add(target.name)
                    waiting.append(target)
    return found


def _objects(composed: Composed, type_: object) -> Iterable[GraphQLObjectType]:
    if isinstance(type_, GraphQLObjectType):
        return [type_]
    if isinstance(type_, GraphQLInterfaceType):
        return composed.schema.get_possible_types(type_)
    return []
