"""The same document for callers of every shape, both ways; what they may see is in the statement or told by it."""

import base64
from collections import OrderedDict
from dataclasses import replace
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import pytest
from graphql import parse
from sqlalchemy.exc import DBAPIError

from guildhall.auth.actor import Actor, JobClaims, system_actor
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.graphql.compiler import fragments, keeping
from guildhall.graphql.compiler.compile import compile_document
from guildhall.graphql.compiler.plan import NotCompilable
from guildhall.graphql.compiler.runs import FallBack
from guildhall.graphql.ids import encode_id
from guildhall.hints import HINTS
from guildhall.settings import Settings
from tests.guildhall.graphql.compiler.conftest import Both
from tests.guildhall.graphql.conftest import HOUSES, OURS, RULES, THEIRS
from tests.guildhall.graphql.example import DISCOVER, WALLET

TEXT = """{ houses(first: 9) { totalCount nodes { id name
    sees: viewerCan(permission: "marketplace:wallet:read") own: viewerCan(permission: "registry:model:adopt")
    rooms(first: 1) { totalCount nodes { name house { name } } } } } }"""
PRICES = "{ houses(first: 9) { nodes { name price balances } } }"
EVERYBODY = frozenset({DISCOVER, WALLET, "registry:model:adopt"})


def caller(
    *bindings: Binding, member: frozenset[str] = frozenset(), denied: frozenset[str] = frozenset(), **more: Any
) -> Actor:
    key = UUID(int=77)
    roles = {**RULES.roles, "all": RoleRules(EVERYBODY, frozenset()), "member": RoleRules(member, denied)}
    roles["job"] = RoleRules(frozenset({DISCOVER}), frozenset())
    given = {Subject(ActorKind.USER, key): bindings}
    rules = PolicyRules(version=1, roles=roles, bindings=given, teams={OURS: "ours", THEIRS: "theirs"})
    return replace(Actor(kind=ActorKind.USER, id=key, name="Somebody", policy=PolicySnapshot(rules)), **more)


CALLERS = {
    "in a team": caller(Binding("all", OURS)),
    "in two teams": caller(Binding("all", OURS), Binding("lead", THEIRS), member=frozenset({DISCOVER})),
    "everywhere": caller(Binding("all", None)),
    "everywhere but on common ground": caller(Binding("all", None), denied=frozenset({WALLET})),
    "on common ground": caller(Binding("all", OURS), member=EVERYBODY),
    "the platform": system_actor("worker"),
    "a job": caller(kind=ActorKind.JOB, team_id=OURS,
                    job=JobClaims(UUID(int=1), UUID(int=2), OURS, UUID(int=3))),
}  # fmt: skip


class TestShapes:
    @pytest.mark.parametrize("name", CALLERS)
    async def test_see_what_graphql_core_shows(self, both: Both, name: str) -> None:
        data = await both(CALLERS[name], TEXT)
        assert data["houses"]["totalCount"] == len(data["houses"]["nodes"])

    async def test_callers_of_one_shape_share_a_statement(self, both: Both, anna: Actor, bert: Actor) -> None:
        await both.ours(anna, TEXT)
        await both.ours(bert, TEXT)
        assert len(set(both.statements)) == 1
        await both.ours(CALLERS["everywhere"], TEXT)
        assert len(set(both.statements)) == 2

    async def test_who_may_nowhere_is_refused_by_graphql_core(self, both: Both) -> None:
        assert "errors" in await both.theirs(caller(), TEXT)
        with pytest.raises(FallBack):
            await both.ours(caller(), TEXT)

    async def test_a_field_with_its_own_permission(self, odd: Both, anna: Actor) -> None:
        data = await odd(CALLERS["everywhere"], PRICES)
        assert [node["price"] for node in data["houses"]["nodes"]] == ["12.5"] * 4
        await odd(CALLERS["the platform"], PRICES)
        await odd(CALLERS["everywhere but on common ground"], PRICES)
        with pytest.raises(FallBack):  # the house of the other team
            await odd.ours(anna, PRICES)

    async def test_a_rule_that_the_row_above_tells_is_not_asked_again(self, both: Both, anna: Actor) -> None:
        await both(anna, "{ houses(first: 9) { nodes { rooms(first: 9) { nodes { name house { name } } } } } }")
        assert both.statements[0].count("visibility") == 1
        await both(anna, "{ houses(first: 9) { nodes { favourites { name } } } }")
        assert both.statements[1].count("visibility") == 2

    async def test_a_rule_of_alternatives_is_told_where_the_list_says_which_it_is(self, odd: Both, anna: Actor) -> None:
        data = await odd(anna, "{ houses(first: 9) { nodes { memos(first: 9) { totalCount nodes { text } } } } }")
        assert [node["memos"]["totalCount"] for node in data["houses"]["nodes"]] == [1, 1, 0, 0]
        assert odd.statements[0].count("visibility") == 1
        await odd(anna, "{ houses(first: 9) { nodes { looseMemos { text } } } }")
        assert odd.statements[1].count("visibility") == 3

    async def test_who_may_see_nothing_of_a_kind_is_refused_where_one_must_be(self, odd: Both) -> None:
        text = '{ house(name: "house-0") { keeper { name } } }'
        assert await odd(CALLERS["on common ground"], text) == {"house": {"keeper": {"name": "guest-0"}}}
        stranger = caller(member=frozenset({DISCOVER}))
        with pytest.raises(FallBack):
            await odd.ours(stranger, text)
        body = await odd.theirs(stranger, text)
        assert body["data"] == {"house": None}
        (error,) = body["errors"]
        assert error["message"] == "This needs the permission marketplace:wallet:read; an administrator can grant it."
        assert error["extensions"] == {"code": "FORBIDDEN", "hint": HINTS["FORBIDDEN"]}

    async def test_what_is_lost_is_a_fault_of_ours(self, odd: Both) -> None:
        text = '{ house(name: "house-0") { lostKeeper { name } } }'
        with pytest.raises(FallBack):
            await odd.ours(CALLERS["on common ground"], text)
        (error,) = (await odd.theirs(CALLERS["on common ground"], text))["errors"]
        assert error["extensions"]["code"] == "INTERNAL_ERROR"

    async def test_a_job_reads_nothing_by_the_name_of_its_team(self, both: Both) -> None:
        assert "errors" in await both.theirs(caller(kind=ActorKind.JOB), TEXT)

    async def test_known_rules_are_bounded(
        self, both: Both, anna: Actor, bert: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping, "RULES_MAX", 1)
        monkeypatch.setattr(keeping, "CALLERS_MAX", 1)
        monkeypatch.setattr(keeping, "_callers", WeakKeyDictionary())
        for actor in (anna, bert, replace(anna, on_behalf_of=UUID(int=78))):
            await both(actor, TEXT)
        assert {len(rules) for callers in keeping._callers.values() for rules in callers.values()} == {1}

    async def test_kept_fragments_are_bounded(self, both: Both, anna: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeping, "KEPT_MAX", 1)
        monkeypatch.setattr(keeping, "_kept", OrderedDict())
        text = "query ($name: String!) { house(name: $name) { name } }"
        for name in ("house-0", "house-2", "house-0"):
            assert (await both(anna, text, name=name))["house"]["name"] == name
        assert len(keeping._kept) == 1

    async def test_what_looks_at_the_caller_is_not_kept(
        self, odd: Both, anna: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping, "_kept", OrderedDict())
        text = """query ($w: [String!]!) {
            ranked(first: 1, words: $w) { totalCount } searchRooms(text: "x") { count { value } } }"""
        for words in ([], ["room-0-x"]):
            await odd(anna, text, w=words)
        assert len(keeping._kept) == 1

    async def test_what_looks_at_the_settings_is_kept_for_them(
        self, odd: Both, anna: Actor, bert: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping, "_kept", OrderedDict())
        text = "{ houses(first: 1) { nodes { scalars { askedOf askedBy } } } }"
        for actor in (anna, bert, anna):
            (node,) = (await odd(actor, text))["houses"]["nodes"]
            assert node["scalars"] == {"askedOf": str(odd.settings.public_url), "askedBy": actor.name}
        (kept,) = keeping._kept.values()
        other = Settings(data_dir=odd.settings.data_dir, public_url="https://elsewhere.example")
        made = odd.new_context
        odd.new_context = lambda actor: replace(made(actor), settings=other)
        (node,) = (await odd(anna, text))["houses"]["nodes"]
        assert node["scalars"]["askedOf"] == "https://elsewhere.example"
        assert list(keeping._kept.values()) != [kept]

    async def test_known_shapes_are_bounded(self, both: Both, anna: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fragments, "SHAPES_MAX", 1)
        monkeypatch.setattr(fragments, "_numbers", {})
        await both(anna, TEXT)
        await both(anna, TEXT)


class TestDocuments:
    async def test_words_of_callers_are_bound(self, both: Both, anna: Actor) -> None:
        data = await both(
            anna,
            """{ mine: houses(first: 1) { nodes { label: id name } }
            theirs: houses(first: 1) { nodes { label: id name } } }""",
        )
        assert data["theirs"]["nodes"][0] == {"label": encode_id("House", HOUSES[0]), "name": "house-0"}
        assert not [word for word in ("mine", "label") if word in both.statements[0]]

    async def test_more_fields_than_a_function_takes_arguments(self, both: Both, anna: Actor) -> None:
        many = " ".join(f"f{number}: name g{number}: createdAt" for number in range(120))
        data = await both.ours(anna, f"{{ houses(first: 1) {{ nodes {{ {many} }} }} }}")
        assert len(data["houses"]["nodes"][0]) == 240

    @pytest.mark.parametrize(
        ("text", "name", "reason"),
        [
            ("query A { __typename } query B { __typename }", None, "no one operation"),
            ("query A { __typename }", "B", "no one operation"),
            ("subscription { changes }", None, "what is followed"),
            ("{ __schema { description } }", None, "the schema itself"),
        ],
    )
    def test_not_compiled(self, both: Both, text: str, name: str | None, reason: str) -> None:
        with pytest.raises(NotCompilable, match=reason):
            compile_document(both.composed.schema, both.composed.catalogue, parse(text), name)

    def test_one_of_several(self, both: Both) -> None:
        text = "query A { __typename } query B { houses(first: 1) { nodes { id shouted } } }"
        made = compile_document(both.composed.schema, both.composed.catalogue, parse(text), "B")
        assert (made.fields, made.is_one_statement) == (4, False)

    async def test_a_total_alone(self, both: Both, anna: Actor) -> None:
        assert await both(anna, "{ houses { totalCount } }") == {"houses": {"totalCount": 4}}

    async def test_a_cursor_that_somebody_made(self, both: Both, anna: Actor) -> None:
        text = (
            "query ($after: String) { houses(first: 9) { nodes { rooms(first: 1, after: $after) { nodes { id } } } } }"
        )
        for body in (b"[1]", b'["x"]', b"{", b'[["u","x"],1]', b'[["t","2026-03-02T08:00:00+00:00"],["s","x"]]'):
            forged = base64.urlsafe_b64encode(b"m" * 16 + body).rstrip(b"=").decode()
            with pytest.raises((FallBack, DBAPIError)):
                await both.ours(anna, text, after=forged)

    async def test_one_list_twice_that_begins_in_two_places(self, both: Both, anna: Actor) -> None:
        fields = "{ nodes { name } pageInfo { endCursor } }"
        text = f"""query ($one: String, $two: String) {{ house(name: "house-0") {{
            rooms(first: 1, after: $one) {fields} again: rooms(first: 1, after: $two) {fields} }} }}"""
        cursors: list[str | None] = [None]
        for _ in range(3):
            found = (await both(anna, text, one=cursors[-1], two=None))["house"]
            cursors.append(found["rooms"]["pageInfo"]["endCursor"])
        found = (await both(anna, text, one=cursors[2], two=cursors[1]))["house"]
        assert found["rooms"]["pageInfo"]["endCursor"] == cursors[3]
        assert found["again"]["pageInfo"]["endCursor"] == cursors[2]
        await both(anna, text, one=cursors[1], two=cursors[2])

    async def test_the_root_alone(self, both: Both, anna: Actor) -> None:
        assert await both(anna, "{ __typename }") == {"__typename": "Query"}

    async def test_filters(self, both: Both, anna: Actor) -> None:
        text = 'query ($f: RoomFilter) { house(name: "house-0") { rooms(first: 9, filter: $f) { nodes { name } } } }'
        asked: list[Any] = [{"house": {"eq": "house-0"}}, {"house": {"in": ["house-0", "house-1"]}}, {"text": "xx"}]
        for given in asked:
            assert (await both(anna, text, f=given))["house"]["rooms"]["nodes"] != []
        with pytest.raises(FallBack):
            await both.ours(anna, text, f={"house": {"in": [str(number) for number in range(500)]}})

    async def test_an_unknown_permission(self, both: Both, anna: Actor) -> None:
        text = "query ($p: String!, $id: ID!) { node(id: $id) { ... on House { viewerCan(permission: $p) } } }"
        with pytest.raises(FallBack):
            await both.ours(anna, text, p="none", id=encode_id("House", HOUSES[0]))
