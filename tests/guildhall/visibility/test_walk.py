"""Every type, every field that leads somewhere, every role: no answer is of what is not there for the caller.

The walk takes its ways from the schema, so that a new type or field is walked or fails. A row that is not visible is
not found by its id, not in a list, not in a count, not behind another row, and not in any text.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from graphql import GraphQLField, GraphQLObjectType, get_named_type
from sqlalchemy import event

from guildhall.db.kept_statements import _Reader
from guildhall.graphql.ids import encode_id, split_id
from guildhall.schema.root import composed_schema
from tests.guildhall.visibility.arguments import (
    ELSEWHERE,
    NAMING,
    Statements,
    change_what_is_not_there,
    follow_lineage,
    name_what_is_not_there,
    named_alike,
    naming_arguments,
    search_by_every_name,
)
from tests.guildhall.visibility.leaves import LEAVES, leaves_of
from tests.guildhall.visibility.rules import RULES, UNRULED
from tests.guildhall.visibility.walking import (
    Walk,
    is_composite,
    needs_nothing,
    object_of,
    selected,
    viewers,
)  # fmt: skip

PAGE = 50
ALIASES = 40
FOLLOWING = frozenset({"member", "barred", "of-two-teams", "contributor-everywhere", "administrator-here"})
"""Who follows every field in a short run."""


class TestRules:
    def test_every_type_of_nodes_has_one(self) -> None:
        nodes = {declared.name for declared in composed_schema().catalogue.types.values() if declared.is_node}
        assert nodes == RULES.keys() | UNRULED.keys()
        assert not RULES.keys() & UNRULED.keys()

    async def test_they_tell_rows_apart(self, walk: Walk) -> None:
        """Of what is not there for everybody, somebody of the viewers sees some and somebody else does not."""
        kinds = ("Model", "Dataset", "Job", "Quote", "Lesson", "Package", "AccessRequest", "Artifact", "Token")
        for name in (*kinds, "Loosening"):
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
        if target is None or target not in {"Node", *RULES, *UNRULED} or not needs_nothing(definition):
            continue
        listed.add(target)
        counted = "totalCount" if "totalCount" in object_of(definition).fields else "__typename"
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
            if not needs_nothing(definition) or not is_composite(definition):
                continue
            selection = selected(object_of(definition), 2)
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


@pytest.fixture
def statements(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Statements]:
    """All that is sent to the database, by whichever way."""
    sent: Statements = []
    fetch = _Reader.fetch

    async def noted(reader: _Reader, sql: str, arguments: Sequence[Any]) -> Any:
        sent.append(sql)
        return await fetch(reader, sql, arguments)

    def note(*given: Any) -> None:
        sent.append(given[2])

    monkeypatch.setattr(_Reader, "fetch", noted)
    engine = walk.world.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


class TestArguments:
    def test_every_one_that_can_name_something_has_a_rule(self) -> None:
        found = set(naming_arguments(composed_schema().schema))
        assert found == NAMING.keys() | ELSEWHERE.keys(), "arguments that take an id or a text, and no rule here"
        assert not NAMING.keys() & ELSEWHERE.keys()

    async def test_what_is_not_there_is_answered_as_what_never_was(self, walk: Walk, statements: Statements) -> None:
        """The same answer after the same statements, so that no clock tells them apart either."""
        asked = await name_what_is_not_there(walk, viewers(walk, all_of_them=False), statements)
        everybodys = {"Team", "User", "ServiceAccount", "Programme", "Pool"}
        hidden = {name for name, ways in NAMING.items() if not {way.kind for way in ways} <= everybodys}
        assert asked.keys() >= hidden

    async def test_by_id_no_type_tells_what_is_there_for_others(self, walk: Walk, statements: Statements) -> None:
        assert await named_alike(walk, viewers(walk, all_of_them=False), statements) > 100

    async def test_no_change_tells_of_it(self, walk: Walk) -> None:
        someone = [each for each in viewers(walk, all_of_them=False) if each.name in FOLLOWING]
        kinds = ("Dataset", "Model", "ModelVersion", "Job", "AccessRequest", "Token")
        asked = await change_what_is_not_there(walk, someone, kinds)
        assert len(asked) > 40

    async def test_search(self, walk: Walk) -> None:
        assert await search_by_every_name(walk, viewers(walk, all_of_them=False)) > 5

    async def test_lineage(self, walk: Walk) -> None:
        assert await follow_lineage(walk, viewers(walk, all_of_them=False)) > 100


class TestLeaves:
    def test_every_one_has_a_rule(self) -> None:
        """A new one is looked at by a person: of what else than its own object does it tell?"""
        new = {
            name: leaves
            for name, found in leaves_of(composed_schema().schema).items()
            if (leaves := found - set(LEAVES.get(name, "").split()))
        }
        assert new == {}, "leaves without a rule: say in leaves.py that they tell of their own object alone"

    async def test_they_tell_of_nothing_else(self, walk: Walk) -> None:
        """All of each object that is there, by everybody: `answer` looks for ids and names of what is not."""
        for viewer in viewers(walk, all_of_them=False):
            for name in RULES:
                told = " ".join(sorted(leaves_of(composed_schema().schema)[name]))
                there = sorted(walk.facts[viewer.name].of(name))
                for key in there[:: max(1, len(there) // 2)][:2]:
                    told = " ".join(sorted(leaves_of(composed_schema().schema)[name]))
                    await walk.answer(
                        viewer, f'{{ node(id: "{encode_id(name, key)}") {{ ... on {name} {{ {told} }} }} }}'
                    )


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
        yield from (f"{name}.{each}" for each, definition in type_.fields.items() if is_composite(definition))


def _listed(definition: GraphQLField) -> str | None:
    """The type of a connection's nodes."""
    named = get_named_type(definition.type)
    if not isinstance(named, GraphQLObjectType) or not named.name.endswith("Connection"):
        return None
    return get_named_type(named.fields["nodes"].type).name if "nodes" in named.fields else None
