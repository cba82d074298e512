"""Every argument that can name something: what is not there for a caller is answered as what never was.

The arguments come from the schema, so that a new one that takes an id or a text is asked about, or fails.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from graphql import (
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    get_named_type,
)
from sqlalchemy import text

from guildhall.clock import new_id
from guildhall.graphql.ids import encode_id
from guildhall.schema.root import composed_schema
from tests.guildhall.graphql.oracle.world import Viewer
from tests.guildhall.visibility.rules import RULES
from tests.guildhall.visibility.walking import Walk, selected

Words = Mapping[str, str]
Statements = list[str]
NOWHERE = new_id()
NOTHING, NOBODY = "never-was-there", "never-was-there@example.org"
"""What nothing is called."""
VALUES: Mapping[str, Any] = {
    "String": "x", "Int": 1, "Float": 0.5, "Boolean": True, "Credits": "1", "BigInt": "1",
    "DateTime": "2026-03-02T08:00:00Z", "Date": "2026-03-02",
}  # fmt: skip
NAMES_EACH = 3
TEXTS = frozenset({"ID", "String", "StringChoice"})
"""Input types by which something can be named."""

WITH_THEIR_TOKEN = frozenset({"revokeToken", "rotateToken"})
"""Changes that look at the token which the caller showed; here nobody shows one, and the tests of tokens say it."""

PAGES = frozenset({"after", "before"})
"""Cursors: they are signed and bound to viewer and filter, which the tests of cursors hold."""


@dataclass(frozen=True)
class Naming:
    """A document that names a thing of that type by `$it`, and how such a thing is called: by its id, or by a row."""

    kind: str
    document: str
    calls: str = ""

    @property
    def by_id(self) -> bool:
        """Whether it is named by its global id."""
        return not self.calls


MODELS, DATASETS, JOBS = (
    f"SELECT t.id, t.name FROM {table} t WHERE (SELECT count(*) FROM {table} other WHERE other.name = t.name) = 1"
    for table in ("models", "datasets", "jobs")
)
MODELS_AT, DATASETS_AT = (
    f"SELECT t.id, t.name, team.name AS beside FROM {table} t JOIN teams team ON team.id = t.team_id"
    for table in ("models", "datasets")
)
TEAMS, PROGRAMMES, POOLS = (f"SELECT id, name FROM {table}" for table in ("teams", "programmes", "pools"))
PEOPLE = "SELECT id, email AS name FROM users"
PROGRAMS = "SELECT a.id, a.name, team.name AS beside FROM service_accounts a JOIN teams team ON team.id = a.team_id"


def _by(field: str, argument: str, rest: str = "", *, type_: str = "String!") -> str:
    beside = ", $beside: String!" if rest else ""
    return f"query ($it: {type_}{beside}) {{ {field}({argument}: $it{rest}) {{ id }} }}"


def _filtered(field: str, filter_: str, *, type_: str = "String!") -> str:
    return f"query ($it: {type_}) {{ {field}(first: 5, filter: {filter_}) {{ nodes {{ id }} }} }}"


NAMING: Mapping[str, tuple[Naming, ...]] = {
    "Query.team.name": (Naming("Team", _by("team", "name"), TEAMS),),
    "Query.user.email": (Naming("User", _by("user", "email"), PEOPLE),),
    "Query.serviceAccount.name": (
        Naming("ServiceAccount", _by("serviceAccount", "name", ", team: $beside"), PROGRAMS),
    ),
    "Query.model.name": (Naming("Model", _by("model", "name", ", team: $beside"), MODELS_AT),),
    "Query.dataset.name": (Naming("Dataset", _by("dataset", "name", ", team: $beside"), DATASETS_AT),),
    "Query.programme.name": (Naming("Programme", _by("programme", "name"), PROGRAMMES),),
    "Query.pool.name": (Naming("Pool", _by("pool", "name"), POOLS),),
    "Query.dataReads.resourceId": tuple(
        Naming(kind, "query ($it: ID!) { dataReads(first: 5, resourceId: $it) { nodes { id } } }")
        for kind in ("Dataset", "DatasetVersion", "Model", "ModelVersion")
    ),
    "Query.actsOf.actorId": tuple(
        Naming(kind, "query ($it: ID!) { actsOf(first: 5, actorId: $it) { nodes { id } } }")
        for kind in ("User", "ServiceAccount", "Job")
    ),
    "Query.explainAccess.actorId": tuple(
        Naming(
            kind,
            'query ($it: ID!) { explainAccess(permission: "guildhall:team:read", actorId: $it) { visible } }',
        )
        for kind in ("User", "ServiceAccount", "Job")
    ),
    "Query.impact.of": tuple(
        Naming(kind, "query ($it: ID!) { impact(of: $it) { __typename } }")
        for kind in ("Dataset", "DatasetVersion", "Model", "ModelVersion", "Job")
    ),
    "ModelFilter.team": (Naming("Team", _filtered("models", "{team: {eq: $it}}"), TEAMS),),
    "ModelFilter.adoptedBy": (Naming("Team", _filtered("models", "{adoptedBy: {eq: $it}}"), TEAMS),),
    "ModelFilter.name": (Naming("Model", _filtered("models", "{name: {eq: $it}}"), MODELS),),
    "DatasetFilter.team": (Naming("Team", _filtered("datasets", "{team: {eq: $it}}"), TEAMS),),
    "DatasetFilter.name": (Naming("Dataset", _filtered("datasets", "{name: {eq: $it}}"), DATASETS),),
    "JobFilter.team": (Naming("Team", _filtered("jobs", "{team: {eq: $it}}"), TEAMS),),
    "JobFilter.name": (Naming("Job", _filtered("jobs", "{name: {eq: $it}}"), JOBS),),
    "WebhookFilter.team": (Naming("Team", _filtered("webhooks", "{team: {eq: $it}}"), TEAMS),),
    "DeliveryFilter.webhookId": (Naming("Webhook", _filtered("deliveries", "{webhookId: $it}", type_="ID!")),),
    **{
        f"AuditFilter.{field}": tuple(
            Naming(kind, _filtered("auditEvents", f"{{{field}: $it}}", type_="ID!")) for kind in kinds
        )
        for field, kinds in {
            "resourceId": ("Dataset", "Model", "Job"), "actorId": ("User",), "onBehalfOfId": ("User",),
            "teamId": ("Team",), "accessGrantId": ("AccessGrant",),
        }.items()
    },
}  # fmt: skip
"""By the coordinate of an argument or an input field, what can be named there, and how to ask."""

ELSEWHERE: Mapping[str, str] = {
    "Query.node.id": "every type by `look_up_every_id`, and its statements by `named_alike`",
    "Query.explainAccess.nodeId": "by `test_explanations`",
    "Query.serviceAccount.team": "with the name",
    "Query.model.team": "with the name",
    "Query.dataset.team": "with the name",
    "Query.searchModels.text": "by `search_by_every_name`",
    "Subscription.jobChanges.id": "by tests/guildhall/graphql/subscriptions",
    "Subscription.walletChanges.team": "by tests/guildhall/graphql/subscriptions",
    "Query.explainAccess.permission": "names a permission, which all are public",
    "AuditFilter.action": "names a permission, which all are public",
    "AuditFilter.requestId": "names a request; events are filtered by their own rule",
    "ModelFilter.task": "a word of models that are visible: lists are filtered by rows that are there",
    "ModelFilter.tag": "a word of models that are visible: lists are filtered by rows that are there",
    "AllocationFilter.programme": "within a wallet, of which all allocations are there or none",
}
"""Arguments that take an id or a text and are looked at elsewhere, or name nothing."""


def naming_arguments(schema: GraphQLSchema) -> Iterator[str]:
    """The coordinates of all that take an id or a text: arguments of reading fields, and fields of their filters."""
    seen: set[str] = set()
    for type_ in schema.type_map.values():
        if not isinstance(type_, (GraphQLObjectType, GraphQLInterfaceType)) or type_.name.startswith("__"):
            continue
        if type_ is schema.mutation_type:
            continue
        for field_name, definition in type_.fields.items():
            for name, argument in definition.args.items():
                if name in PAGES or (field_name, name) == ("viewerCan", "permission"):
                    continue
                named = get_named_type(argument.type)
                if named.name in TEXTS:
                    yield f"{type_.name}.{field_name}.{name}"
                elif isinstance(named, GraphQLInputObjectType) and named.name not in seen:
                    seen.add(named.name)
                    yield from _texts_of(named)


def _texts_of(type_: GraphQLInputObjectType) -> Iterator[str]:
    yield from (
        f"{type_.name}.{name}" for name, each in type_.fields.items() if get_named_type(each.type).name in TEXTS
    )


def alike(answer: object, said: Mapping[str, str]) -> str:
    """The answer without what the caller said themself."""
    text = json.dumps(answer, sort_keys=True)
    for word in said.values():
        text = text.replace(json.dumps(word)[1:-1], "…")
    return text


def inputs_with_ids(schema: GraphQLSchema) -> Iterator[tuple[str, GraphQLInputObjectType, list[str]]]:
    """Each mutation, its input, and the fields of that which are an id or a list of ids."""
    assert schema.mutation_type is not None
    for name, definition in schema.mutation_type.fields.items():
        named = get_named_type(definition.args["input"].type)
        assert isinstance(named, GraphQLInputObjectType)
        ids = [each for each, field in named.fields.items() if get_named_type(field.type).name == "ID"]
        if ids:
            yield name, named, ids


async def name_what_is_not_there(walk: Walk, viewers: Iterable[Viewer], statements: Statements) -> Counter[str]:
    """By each argument: the same answer, and the same statements, as for a name that nothing has."""
    asked: Counter[str] = Counter()
    called = {calls: await _called(walk, calls) for calls in _ways_of_calling()}
    for viewer in viewers:
        facts = walk.facts[viewer.name]
        for coordinate, ways in NAMING.items():
            for way in ways:
                hidden = [key for key in sorted(walk.rows[way.kind]) if key not in facts.of(way.kind)]
                for key in hidden[:: max(1, len(hidden) // NAMES_EACH)][:NAMES_EACH]:
                    said: Words
                    if way.by_id:
                        said, other = {"it": encode_id(way.kind, key)}, {"it": encode_id(way.kind, NOWHERE)}
                    elif key in called[way.calls]:
                        said = called[way.calls][key]
                        other = {
                            **said,
                            "it": "never-was-there@example.org" if "@" in said["it"] else "never-was-there",
                        }
                    else:
                        continue
                    await _alike(walk, viewer, way.document, said, other, statements)
                    asked[coordinate] += 1
    return asked


async def change_what_is_not_there(walk: Walk, viewers: Iterable[Viewer], kinds: Sequence[str]) -> Counter[str]:
    """By each id that a mutation takes: the same refusal as for what never was. The world keeps none of it."""
    schema = composed_schema().schema
    asked: Counter[str] = Counter()
    for viewer in viewers:
        facts = walk.facts[viewer.name]
        for kind in kinds:
            hidden = next((key for key in sorted(walk.rows[kind]) if key not in facts.of(kind)), None)
            if hidden is None:
                continue
            said, other = ({"it": encode_id(kind, key)} for key in (hidden, NOWHERE))
            for name, type_, ids in inputs_with_ids(schema):
                if name in WITH_THEIR_TOKEN:
                    continue
                given = {each: _value(field.type, "$") for each, field in type_.fields.items() if _is_needed(field)}
                given |= {each: _value(type_.fields[each].type, "$") for each in ids}
                told = "errors { code field message }"
                document = f"mutation ($input: {type_.name}!) {{ {name}(input: $input) {{ {told} }} }}"
                answers = [
                    alike(await walk.answer(viewer, document, input=_filled(given, each["it"])), each)
                    for each in (said, other)
                ]
                assert answers[0] == answers[1], f"{name} of a {kind}, by {viewer.name}"
                asked[name] += 1
    return asked


async def search_by_every_name(walk: Walk, viewers: Iterable[Viewer]) -> int:
    """By the name of what is not there: as many are counted as are shown, and `answer` looks at whose those are."""
    document = (
        "query ($it: String!) { searchModels(text: $it, first: 50) { count { value exact } edges { node { id } } } }"
    )
    called, found = await _called(walk, MODELS), 0
    for viewer in viewers:
        for key in [key for key in called if key not in walk.facts[viewer.name].of("Model")][:NAMES_EACH]:
            body = await walk.answer(viewer, document, **called[key])
            if body["data"] is None or body["data"]["searchModels"] is None:
                assert [error["extensions"]["code"] for error in body["errors"]] == ["FORBIDDEN"], body
                continue
            told = body["data"]["searchModels"]
            assert told["count"] == {"value": len(told["edges"]), "exact": True}
            found += 1
    return found


async def follow_lineage(walk: Walk, viewers: Iterable[Viewer]) -> int:
    """Both ways from everything that is there, as far as it goes: `answer` looks at whose all of that is."""
    document = """query ($it: ID!, $direction: Direction!) { node(id: $it) { ... on ModelVersion {
        lineage(direction: $direction, depth: 10) %s } } }"""
    type_ = composed_schema().schema.type_map["Lineage"]
    assert isinstance(type_, GraphQLObjectType)
    document %= selected(type_, 3)
    followed = 0
    for viewer in viewers:
        for key in sorted(walk.facts[viewer.name].of("ModelVersion")):
            for direction in ("UPSTREAM", "DOWNSTREAM"):
                body = await walk.answer(viewer, document, it=encode_id("ModelVersion", key), direction=direction)
                assert "errors" not in body, body
                followed += 1
    return followed


async def named_alike(walk: Walk, viewers: Iterable[Viewer], statements: Statements) -> int:
    """`node(id:)` of every type: the same answer and the same statements, there for others or never there."""
    document, asked = "query ($it: ID!) { node(id: $it) { id __typename } }", 0
    for viewer in viewers:
        for kind in RULES:
            hidden = next((key for key in walk.rows[kind] if key not in walk.facts[viewer.name].of(kind)), None)
            if hidden is not None:
                said, other = ({"it": encode_id(kind, key)} for key in (hidden, NOWHERE))
                await _alike(walk, viewer, document, said, other, statements)
                asked += 1
    return asked


async def _alike(walk: Walk, viewer: Viewer, document: str, said: Words, other: Words, statements: Statements) -> None:
    answers, sent = [], []
    await walk.answer(viewer, document, **other)  # compiled, and statements prepared
    for each in (said, other):
        statements.clear()
        answers.append(alike(await walk.answer(viewer, document, **each), each))
        sent.append(list(statements))
    assert answers[0] == answers[1], f"{document} with {said}, by {viewer.name}"
    assert sent[0] == sent[1], f"the statements of {document} with {said}, by {viewer.name}"


def _ways_of_calling() -> set[str]:
    return {way.calls for ways in NAMING.values() for way in ways if way.calls}


async def _called(walk: Walk, statement: str) -> dict[UUID, Words]:
    async with walk.world.database.read() as session:
        rows = [row._asdict() for row in await session.execute(text(statement))]
    return {row["id"]: {"it": row["name"]} | ({"beside": row["beside"]} if "beside" in row else {}) for row in rows}


def _is_needed(field: GraphQLInputField) -> bool:
    return isinstance(field.type, GraphQLNonNull) and field.default_value is Undefined


def _value(type_: GraphQLInputType, id_: str) -> Any:
    """Something of that type that is taken."""
    if isinstance(type_, GraphQLNonNull):
        return _value(type_.of_type, id_)
    if isinstance(type_, GraphQLList):
        return [_value(type_.of_type, id_)]
    if isinstance(type_, GraphQLEnumType):
        return next(iter(type_.values))
    if isinstance(type_, GraphQLInputObjectType):
        return {name: _value(field.type, id_) for name, field in type_.fields.items() if _is_needed(field)}
    return VALUES[type_.name] if type_.name != "ID" else id_


def _filled(given: Any, id_: str) -> Any:
    if isinstance(given, dict):
        return {name: _filled(each, id_) for name, each in given.items()}
    if isinstance(given, list):
        return [_filled(each, id_) for each in given]
    return id_ if given == "$" else given
