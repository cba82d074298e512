"""Every type, every field that leads somewhere, every role: no answer is of what is not there for the caller.

The walk takes its ways from the schema, so that a new type or field is walked or fails. A row that is not visible is
not found by its id, not in a list, not in a count, not behind another row, and not in any text.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from graphql import GraphQLField, GraphQLInterfaceType, GraphQLNonNull, GraphQLObjectType, Undefined, get_named_type
from sqlalchemy import text

from guildhall.auth.subjects import ActorKind
from guildhall.db.transaction import Database
from guildhall.graphql.execution import Executor, Request
from guildhall.graphql.ids import encode_id, split_id
from guildhall.schema.root import composed_schema
from tests.guildhall.graphql.oracle.world import Viewer, World, standing_still
from tests.guildhall.visibility.rules import RULES, UNRULED, Caller, Facts, Row, read_rows

SEED = 6
PAGE = 50
ALIASES = 40
LEAVES_MAX = 30
SHORT_VIEWERS = frozenset({
    "member", "barred", "of-two-teams", "program", "viewer-here", "contributor-everywhere", "auditor-everywhere",
    "administrator-here", "steward-here",
})  # fmt: skip

FOLLOWING = frozenset({"member", "barred", "of-two-teams", "contributor-everywhere", "administrator-here"})
"""Who follows every field in a short run."""


@dataclass
class Walk:
    """The world, what is really in it, and who sees what of it by the rules."""

    world: World
    rows: dict[str, dict[UUID, Row]]
    secrets: dict[str, dict[UUID, str]]
    executor: Executor
    facts: dict[str, Facts] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    async def answer(self, viewer: Viewer, document: str, **variables: Any) -> Any:
        """The body, after a look for what must not be in it."""
        answered = await self.executor.run(Request(document, variables), self.world.context(viewer))
        body = msgspec.json.encode(answered.body()).decode()
        facts = self.facts[viewer.name]
        for name, secret in self.secrets.items():
            told = [each for key, each in secret.items() if key not in facts.of(name) and each in body]
            told = [each for each in told if each not in document and each not in json.dumps(variables)]
            assert told == [], f"{viewer.name} is told of a {name} that is not there for them, by {document}"
        for kind, key in _ids(body):
            assert kind in UNRULED or key in facts.of(kind), (
                f"{viewer.name} is shown a {kind} that is not there for them, by {document}"
            )
        return json.loads(body)


@pytest.fixture(scope="module")
async def walk(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walk]:
    folder: Path = tmp_path_factory.mktemp("data")
    async with standing_still(database, folder, seed=SEED) as still:
        async with database.read() as session:
            rows = await read_rows(session)
            datasets = {row.id: row.name for row in await session.execute(text("SELECT id, name FROM datasets"))}
        secrets = {"Dataset": {key: name for key, name in datasets.items() if name.startswith("scattered-data-")}}
        assert secrets["Dataset"], "names that stand for nothing else"
        found = Walk(still, rows, secrets, Executor(composed_schema(), still.settings, still.statements))
        for viewer in still.viewers:
            if viewer.actor.kind is not ActorKind.JOB:
                found.facts[viewer.name] = Facts(rows, Caller(viewer.actor))
        yield found


def viewers(walk: Walk, *, all_of_them: bool) -> Iterator[Viewer]:
    """Those of short runs, or all; a job's narrower rule is in the tests of jobs."""
    for viewer in walk.world.viewers:
        if viewer.name in walk.facts and (all_of_them or viewer.name in SHORT_VIEWERS):
            yield viewer


class TestRules:
    def test_every_type_of_nodes_has_one(self) -> None:
        nodes = {declared.name for declared in composed_schema().catalogue.types.values() if declared.is_node}
        assert nodes == RULES.keys() | UNRULED.keys()
        assert not RULES.keys() & UNRULED.keys()

    async def test_they_tell_rows_apart(self, walk: Walk) -> None:
        """Of what is not there for everybody, somebody of the viewers sees some and somebody else does not."""
        for name in ("Model", "Dataset", "Job", "Quote", "Lesson", "Package", "AccessRequest", "Artifact", "Token"):
            counts = {len(facts.of(name)) for facts in walk.facts.values()}
            assert len(counts) > 1, name


async def look_up_every_id(walk: Walk, *, all_of_them: bool) -> int:
    looked = 0
    for viewer in viewers(walk, all_of_them=all_of_them):
        facts = walk.facts[viewer.name]
        keys = [(name, key) for name in RULES for key in list(walk.rows[name])[-ALIASES // 4 :]]
        for start in range(0, len(keys), ALIASES):
            chunk = keys[start : start + ALIASES]
            fields = " ".join(
                f'n{place}: node(id: "{encode_id(name, key)}") {{ id }}' for place, (name, key) in enumerate(chunk)
            )
            body = await walk.answer(viewer, f"{{ {fields} }}")
            assert "errors" not in body, body
            for place, (name, key) in enumerate(chunk):
                found = body["data"][f"n{place}"] is not None
                assert found == (key in facts.of(name)), f"node(id:) of a {name}, by {viewer.name}"
                looked += 1
    return looked


async def list_everything(walk: Walk, *, all_of_them: bool) -> set[str]:
    """Each connection of Query that needs no argument: all that is visible, no more, also in its count."""
    query = composed_schema().schema.query_type
    assert query is not None
    listed = set()
    for name, definition in query.fields.items():
        target = _listed(definition)
        if target is None or target not in {"Node", *RULES, *UNRULED} or not _needs_nothing(definition):
            continue
        listed.add(target)
        counted = "totalCount" if "totalCount" in _object(definition).fields else "__typename"
        for viewer in viewers(walk, all_of_them=all_of_them):
            document = f"{{ {name}(first: {PAGE}) {{ {counted} nodes {{ id __typename }} }} }}"
            body = await walk.answer(viewer, document)
            if "errors" in body:
                codes = {error["extensions"]["code"] for error in body["errors"]}
                assert codes == {"FORBIDDEN"}, (document, body)
                continue
            if target in WHOLE:
                there = walk.facts[viewer.name].of(target)
                assert len(body["data"][name]["nodes"]) == min(PAGE, len(there)), f"{name}, by {viewer.name}"
                assert body["data"][name].get("totalCount", len(there)) == len(there), f"{name}, by {viewer.name}"
    return listed


WHOLE = frozenset({"Team", "User", "Model", "Dataset"})
"""Types whose list below Query is of all there are."""


async def follow_every_field(walk: Walk, *, all_of_them: bool, rows_each: int) -> None:
    """From rows that the caller sees, along every field that leads to other objects, two steps far."""
    schema = composed_schema().schema
    for name in RULES:
        type_ = schema.type_map[name]
        assert isinstance(type_, GraphQLObjectType)
        for field_name, definition in type_.fields.items():
            if not _needs_nothing(definition) or not _is_composite(definition):
                continue
            selection = _selected(definition, 2)
            walk.asked.add(f"{name}.{field_name}")
            for viewer in viewers(walk, all_of_them=all_of_them):
                if not all_of_them and viewer.name not in FOLLOWING:
                    continue
                there = sorted(walk.facts[viewer.name].of(name))
                for key in there[:: max(1, len(there) // rows_each)][:rows_each]:
                    first = f"(first: {PAGE})" if "first" in definition.args else ""
                    inner = f"... on {name} {{ {field_name}{first} {selection} }}"
                    await walk.answer(viewer, f'{{ node(id: "{encode_id(name, key)}") {{ {inner} }} }}')


async def find_by_name(walk: Walk, *, all_of_them: bool) -> int:
    """What is not there is answered as what never was: the same error or null, the same fields."""
    asked = 0
    for coordinate, field_name in (("Query.model", "model"), ("Query.dataset", "dataset")):
        kind = field_name.capitalize()
        for viewer in viewers(walk, all_of_them=all_of_them):
            for call in walk.world.known.calls[coordinate]:
                document = (
                    f"query ($team: String!, $name: String!) {{ {field_name}(team: $team, name: $name) {{ id }} }}"
                )
                found = await walk.answer(viewer, document, **call)
                nothing = await walk.answer(viewer, document, team=call["team"], name="never-was-there")
                node = (found.get("data") or {}).get(field_name)
                if node is None:
                    assert found == nothing, f"{field_name} by name, by {viewer.name}"
                else:
                    split = split_id(node["id"])
                    assert split is not None
                    assert split[1] in walk.facts[viewer.name].of(kind)
                asked += 1
    return asked


class TestWalk:
    async def test_by_id(self, walk: Walk) -> None:
        assert await look_up_every_id(walk, all_of_them=False) > 1_000

    async def test_lists_and_counts(self, walk: Walk) -> None:
        assert await list_everything(walk, all_of_them=False) >= WHOLE

    async def test_by_name(self, walk: Walk) -> None:
        assert await find_by_name(walk, all_of_them=False) > 100

    async def test_behind_every_field(self, walk: Walk) -> None:
        await follow_every_field(walk, all_of_them=False, rows_each=1)
        left = [coordinate for coordinate in _leading_fields() if coordinate not in walk.asked | NOT_FOLLOWED.keys()]
        assert left == [], "fields that lead to other objects, and no rule here says who sees what behind them"

    async def test_explanations(self, walk: Walk) -> None:
        """What is not there is not explained either; what is, with what the data's own rules say."""
        document = """query ($id: ID!) { explainAccess(permission: "registry:dataset:read", nodeId: $id) {
            visible data { allowed reason { code } accessGrant { id } } } }"""
        told = []
        for viewer in viewers(walk, all_of_them=False):
            for key in walk.rows["Dataset"]:
                body = await walk.answer(viewer, document, id=encode_id("Dataset", key))
                if key in walk.facts[viewer.name].of("Dataset"):
                    explained = body["data"]["explainAccess"]
                    assert explained["visible"] is True
                    assert explained["data"]["allowed"] == (explained["data"]["reason"] is None)
                    told.append(explained["data"]["allowed"])
                else:
                    assert [error["extensions"]["code"] for error in body["errors"]] == ["NOT_FOUND"]
        assert {*told} == {True, False}

    @pytest.mark.long
    async def test_all_of_it(self, walk: Walk) -> None:
        await look_up_every_id(walk, all_of_them=True)
        await list_everything(walk, all_of_them=True)
        await find_by_name(walk, all_of_them=True)
        await follow_every_field(walk, all_of_them=True, rows_each=6)

    async def test_a_lost_rule_is_seen(self, walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
        """The walk itself is no good if it cannot fail."""
        shown = next(viewer for viewer in viewers(walk, all_of_them=False) if viewer.name == "barred")
        monkeypatch.setitem(walk.facts[shown.name].visible, "Team", set())
        with pytest.raises(AssertionError, match="not there for them"):
            await walk.answer(shown, "{ teams(first: 5) { nodes { id } } }")


NOT_FOLLOWED: dict[str, str] = {}
"""Fields of nodes that lead to objects and need arguments, and where they are tested."""


def _leading_fields() -> Iterator[str]:
    schema = composed_schema().schema
    for name in RULES:
        type_ = schema.type_map[name]
        assert isinstance(type_, GraphQLObjectType)
        yield from (f"{name}.{each}" for each, definition in type_.fields.items() if _is_composite(definition))


def _ids(body: str) -> Iterator[tuple[str, UUID]]:
    """Every global id in an answer, wherever it stands."""
    waiting = [json.loads(body).get("data")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            found = split_id(value)
            if found is not None:
                yield found


def _object(definition: GraphQLField) -> GraphQLObjectType | GraphQLInterfaceType:
    named = get_named_type(definition.type)
    assert isinstance(named, (GraphQLObjectType, GraphQLInterfaceType))
    return named


def _is_composite(definition: GraphQLField) -> bool:
    return isinstance(get_named_type(definition.type), (GraphQLObjectType, GraphQLInterfaceType))


def _listed(definition: GraphQLField) -> str | None:
    """The type of a connection's nodes."""
    named = get_named_type(definition.type)
    if not isinstance(named, GraphQLObjectType) or not named.name.endswith("Connection"):
        return None
    return get_named_type(named.fields["nodes"].type).name if "nodes" in named.fields else None


def _needs_nothing(definition: GraphQLField) -> bool:
    """No argument that must be given, but for the page's length."""
    return all(
        name == "first" or not isinstance(argument.type, GraphQLNonNull) or argument.default_value is not Undefined
        for name, argument in definition.args.items()
    )


def _selected(definition: GraphQLField, steps: int) -> str:
    """All leaves, and what lies below, so many steps far."""
    type_ = _object(definition)
    if isinstance(type_, GraphQLInterfaceType):
        return "{ id __typename }"
    parts = ["__typename"]
    for name, below in type_.fields.items():
        if below.args and not ("first" in below.args and _needs_nothing(below)):
            continue
        first = "(first: 5)" if "first" in below.args else ""
        if not _is_composite(below):
            parts.append(name)
        elif steps > 0 and name not in {"edges", "pageInfo"}:
            parts.append(f"{name}{first} {_selected(below, steps - 1)}")
    return "{ " + " ".join(parts[:LEAVES_MAX]) + " }"
