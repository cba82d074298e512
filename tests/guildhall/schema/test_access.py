"""The policy in GraphQL: read, changed, explained."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from guildhall.auth.permissions import PERMISSIONS
from guildhall.auth.tables import RoleBinding, Team, User
from guildhall.clock import SimulatedClock
from guildhall.db.transaction import Database
from guildhall.graphql.ids import encode_id
from tests.guildhall.conftest import Asker
from tests.people import make_service_account, make_team, make_user

GIVE = """mutation ($input: GiveRoleInput!) { giveRole(input: $input) {
    roleBinding { id holder { ... on User { email } } role { name } team { name } source startsAt endsAt }
    errors { code field message } } }"""
AWAY = """mutation ($input: TakeRoleAwayInput!) { takeRoleAway(input: $input) {
    holder { ... on User { email } } errors { code field } } }"""
LINE = """mutation ($input: SetRoleLineInput!) { setRoleLine(input: $input) {
    role { name lines { permission effect } } errors { code field } } }"""
TAKE = """mutation ($input: TakeRoleInput!) { takeEmergencyRole(input: $input) {
    emergencyRole { id person { name } role { name } team { name } reason endsAt review } errors { code field } } }"""
REVIEW = """mutation ($input: ReviewEmergencyRoleInput!) { reviewEmergencyRole(input: $input) {
    emergencyRole { review reviewedBy { name } } errors { code field } } }"""
RETIRE = """mutation ($input: DeactivateServiceAccountInput!) { deactivateServiceAccount(input: $input) {
    serviceAccount { name deactivatedAt } errors { code field } } }"""
MOVE = """mutation ($input: MoveTeamInput!) { moveTeam(input: $input) {
    team { name parent { name } } errors { code field } } }"""
EXPLAIN = """query ($permission: String!, $node: ID, $actor: ID) {
    explainAccess(permission: $permission, nodeId: $node, actorId: $actor) {
        allowed permission sentence visible ground team { name } rolesThatAllow
        rules { role effect team { name } path startsAt endsAt counts }
        data { allowed reason { code } accessGrant { id } } } }"""
HELD = """{ roles { name custom lines { permission effect } }
    team(name: "press") { roleBindings(first: 9) { nodes {
        role { name } holder { ... on User { email roleBindings(first: 9) { totalCount } } } } } } }"""
OWN = '{ user(email: "nora@example.org") { roleBindings(first: 9) { nodes { id source } } } }'
WHY = "the press stands still"
DISCOVER = "registry:model:discover"


@pytest.fixture(scope="module", autouse=True)
async def more(database: Database, tokens: dict[str, str]) -> None:
    """A team below `press`, and somebody to whom roles are given."""
    async with database.transaction() as session:
        await make_team(session, "inks")
        await make_user(session, "pia")
        press = (await session.scalars(select(Team.id).where(Team.name == "press"))).one()
        await make_service_account(session, "binder", press)


async def id_of(ask: Asker, document: str) -> str:
    answer = (await ask("ada", document))["data"]
    found: str = next(iter(answer.values()))["id"]
    return found


async def explained(ask: Asker, who: str, permission: str, **about: str) -> Any:
    answer = await ask(who, EXPLAIN, permission=permission, **about)
    return answer["data"]["explainAccess"] if "errors" not in answer else answer["errors"][0]["extensions"]["code"]


class TestReading:
    async def test_every_permission_with_its_sentence(self, ask: Asker) -> None:
        answer = await ask("nora", "{ permissions { name sentence permissionClass inOwnTeam } }")
        assert [each["name"] for each in answer["data"]["permissions"]] == list(PERMISSIONS)
        read = PERMISSIONS["registry:model:adopt"]
        assert {
            "name": read.name, "sentence": read.sentence, "permissionClass": "DATA_WRITE", "inOwnTeam": True,
        } in answer["data"]["permissions"]  # fmt: skip
        assert (await ask(None, "{ permissions { name } }"))["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"

    async def test_roles_and_who_holds_them(self, ask: Asker) -> None:
        answer = await ask("nora", HELD)
        roles = {role["name"]: role for role in answer["data"]["roles"]}
        assert roles["on-call"] == {
            "name": "on-call", "custom": False, "lines": [{"permission": "guildhall:role:take", "effect": "ALLOW"}],
        }  # fmt: skip
        assert answer["data"]["team"]["roleBindings"]["nodes"] == [
            {"role": {"name": "maintainer"}, "holder": {"email": "mia@example.org", "roleBindings": {"totalCount": 1}}}
        ]


class TestGiving:
    async def test_a_role_for_a_time_is_in_force_until_then(
        self, ask: Asker, tokens: dict[str, str], module_clock: SimulatedClock
    ) -> None:
        now = module_clock.now()
        ends = (now + timedelta(hours=1)).isoformat()
        given = {"role": "viewer", "email": "nora@example.org", "team": "press", "endsAt": ends}
        answer = (await ask("ada", GIVE, input=given))["data"]["giveRole"]
        assert answer["errors"] == []
        binding = answer["roleBinding"]
        assert (binding["holder"], binding["role"]) == ({"email": "nora@example.org"}, {"name": "viewer"})
        assert (binding["team"], binding["source"], binding["startsAt"]) == ({"name": "press"}, "HAND", None)
        can = '{ team(name: "press") { viewerCan(permission: "registry:model:read") } }'
        assert (await ask("nora", can))["data"]["team"]["viewerCan"] is True
        module_clock.advance(timedelta(hours=1))
        assert (await ask("nora", can))["data"]["team"]["viewerCan"] is False
        away = await ask("ada", AWAY, input={"roleBindingId": binding["id"]})
        assert away["data"]["takeRoleAway"] == {"holder": {"email": "nora@example.org"}, "errors": []}
        assert (await ask("nora", can))["data"]["team"]["viewerCan"] is False

    @pytest.mark.parametrize(("who", "given", "code", "field"), [
        ("ada", {"role": "viewer"}, "INVALID_INPUT", "email"),
        ("ada", {"role": "viewer", "email": "who@example.org"}, "NOT_FOUND", "email"),
        ("ada", {"role": "viewer", "serviceAccount": {"team": "press", "name": "gone"}}, "NOT_FOUND", "serviceAccount"),
        ("ada", {"role": "viewer", "email": "pia@example.org", "team": "gone"}, "NOT_FOUND", "team"),
        ("ada", {"role": "king", "email": "pia@example.org"}, "INVALID_BINDING", "role"),
        ("mia", {"role": "viewer", "email": "pia@example.org", "team": "press"}, "PERMISSION_REFUSED", None),
    ])  # fmt: skip
    async def test_what_is_refused_changes_nothing(
        self, ask: Asker, database: Database, who: str, given: dict[str, Any], code: str, field: str | None
    ) -> None:
        answer = await ask(who, GIVE, input=given)
        if "errors" in answer:
            told = [(error["extensions"]["code"], None) for error in answer["errors"]]
        else:
            told = [(error["code"], error["field"]) for error in answer["data"]["giveRole"]["errors"]]
        assert told == [(code, field)]
        async with database.read() as session:
            pia = select(User.id).where(User.email == "pia@example.org").scalar_subquery()
            assert (await session.scalars(select(RoleBinding).where(RoleBinding.user_id == pia))).all() == []


class TestLines:
    async def test_a_role_of_one_s_own(self, ask: Asker) -> None:
        create = """mutation ($input: CreateRoleInput!) { createRole(input: $input) {
            role { name custom sentence } errors { code } } }"""
        made = await ask("ada", create, input={"name": "proof-reader", "sentence": "Reads proofs."})
        assert made["data"]["createRole"]["role"] == {
            "name": "proof-reader", "custom": True, "sentence": "Reads proofs.",
        }  # fmt: skip
        for effect, lines in (("DENY", [{"permission": DISCOVER, "effect": "DENY"}]), (None, [])):
            line = {"role": "proof-reader", "permission": DISCOVER, "effect": effect}
            answer = (await ask("ada", LINE, input=line))["data"]["setRoleLine"]
            assert answer == {"role": {"name": "proof-reader", "lines": lines}, "errors": []}

    async def test_the_record_is_denied_to_nobody(self, ask: Asker) -> None:
        line = {"role": "auditor", "permission": "guildhall:audit:read", "effect": "DENY"}
        answer = (await ask("ada", LINE, input=line))["data"]["setRoleLine"]
        assert answer == {"role": None, "errors": [{"code": "AUDIT_STAYS_READABLE", "field": "effect"}]}


class TestEmergencies:
    async def test_taken_seen_by_auditors_and_reviewed(self, ask: Asker) -> None:
        given = {"role": "on-call", "email": "nora@example.org"}
        on_call = (await ask("ada", GIVE, input=given))["data"]["giveRole"]["roleBinding"]["id"]
        answer = (await ask("nora", TAKE, input={
            "role": "viewer", "team": "press", "reason": WHY, "durationSeconds": 600,
        }))["data"]["takeEmergencyRole"]  # fmt: skip
        alarm = answer["emergencyRole"]
        assert (alarm["person"], alarm["role"], alarm["team"]) == (
            {"name": "Nora"}, {"name": "viewer"}, {"name": "press"},
        )  # fmt: skip
        listed = "{ emergencyRoles(first: 9, filter: {reviewed: false}) { nodes { id reason } } }"
        waiting = (await ask("otto", listed))["data"]["emergencyRoles"]["nodes"]
        assert waiting == [{"id": alarm["id"], "reason": WHY}]
        assert (await ask("mia", listed))["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        hidden = "query ($id: ID!) { node(id: $id) { ... on EmergencyRole { reason } } }"
        assert (await ask("mia", hidden, id=alarm["id"]))["data"] == {"node": None}
        assert (await ask("nora", hidden, id=alarm["id"]))["data"] == {"node": {"reason": WHY}}
        review = {"emergencyRoleId": alarm["id"], "review": "it really stood still"}
        done = (await ask("otto", REVIEW, input=review))["data"]["reviewEmergencyRole"]
        assert done == {
            "emergencyRole": {"review": review["review"], "reviewedBy": {"name": "Otto"}}, "errors": [],
        }  # fmt: skip
        assert (await ask("otto", listed))["data"]["emergencyRoles"]["nodes"] == []
        reviewed = "{ emergencyRoles(first: 9, filter: {reviewed: true}) { totalCount } }"
        assert (await ask("otto", reviewed))["data"]["emergencyRoles"] == {"totalCount": 1}
        for binding in (await ask("ada", OWN))["data"]["user"]["roleBindings"]["nodes"]:
            if binding["source"] == "EMERGENCY":
                await ask("nora", AWAY, input={"roleBindingId": binding["id"]})
        assert (await ask("ada", AWAY, input={"roleBindingId": on_call}))["data"]["takeRoleAway"]["errors"] == []


class TestPrograms:
    async def test_are_ended_for_good(self, ask: Asker) -> None:
        name = {"serviceAccount": {"team": "press", "name": "binder"}}
        assert (await ask("nora", RETIRE, input=name))["errors"][0]["extensions"]["code"] == "PERMISSION_REFUSED"
        ended = (await ask("ada", RETIRE, input=name))["data"]["deactivateServiceAccount"]
        assert (ended["serviceAccount"]["name"], ended["errors"]) == ("binder", [])
        assert ended["serviceAccount"]["deactivatedAt"] is not None
        for given, code in (
            (name, "DEACTIVATED"),
            ({"serviceAccount": {"team": "press", "name": "gone"}}, "NOT_FOUND"),
        ):
            refused = (await ask("ada", RETIRE, input=given))["data"]["deactivateServiceAccount"]
            assert refused["errors"] == [{"code": code, "field": "serviceAccount"}]


class TestTree:
    async def test_roles_count_below_and_explanations_say_so(self, ask: Asker) -> None:
        inks = await id_of(ask, '{ team(name: "inks") { id } }')
        before = await explained(ask, "mia", "marketplace:credits:send", node=inks)
        assert (before["allowed"], before["ground"], before["rules"]) == (False, "NO_ROLE", [])
        assert before["rolesThatAllow"] == ["maintainer"]
        moved = await ask("ada", MOVE, input={"team": "inks", "parent": "press"})
        assert moved["data"]["moveTeam"] == {"team": {"name": "inks", "parent": {"name": "press"}}, "errors": []}
        after = await explained(ask, "mia", "marketplace:credits:send", node=inks)
        assert (after["allowed"], after["visible"], after["ground"]) == (True, True, "ALLOWED")
        assert after["team"] == {"name": "inks"}
        assert after["rules"] == [{
            "role": "maintainer", "effect": "allow", "team": {"name": "press"}, "path": ["press", "inks"],
            "startsAt": None, "endsAt": None, "counts": True,
        }]  # fmt: skip
        tree = await ask("nora", '{ team(name: "press") { children(first: 5) { nodes { name } } } }')
        assert tree["data"]["team"]["children"]["nodes"] == [{"name": "inks"}]
        circle = await ask("ada", MOVE, input={"team": "press", "parent": "inks"})
        assert circle["data"]["moveTeam"]["errors"] == [{"code": "INVALID_PLACE", "field": "parent"}]
        gone = await ask("ada", MOVE, input={"team": "gone"})
        assert gone["data"]["moveTeam"]["errors"] == [{"code": "NOT_FOUND", "field": "team"}]
        await ask("ada", MOVE, input={"team": "inks"})
        assert (await explained(ask, "mia", "marketplace:credits:send", node=inks))["allowed"] is False


class TestExplaining:
    async def test_about_others_for_whoever_may(self, ask: Asker) -> None:
        mia = await id_of(ask, '{ user(email: "mia@example.org") { id } }')
        press = await id_of(ask, '{ team(name: "press") { id } }')
        found = await explained(ask, "otto", "registry:model:publish", node=press, actor=mia)
        assert (found["allowed"], [rule["role"] for rule in found["rules"]]) == (True, ["maintainer"])
        assert await explained(ask, "nora", "registry:model:publish", node=press, actor=mia) == "PERMISSION_REFUSED"
        assert (await explained(ask, "mia", "registry:model:publish", node=press, actor=mia))["allowed"] is True

    async def test_on_common_ground_and_in_teams_of_one_s_own(self, ask: Asker) -> None:
        found = await explained(ask, "nora", DISCOVER)
        assert (found["allowed"], found["rules"][0]["role"], found["team"]) == (True, "member", None)
        for who, want in (("mia", True), ("nora", False)):
            assert (await explained(ask, who, "registry:model:adopt"))["allowed"] is want

    @pytest.mark.parametrize(("about", "code"), [
        ({"permission": "registry:model:steal"}, "NOT_FOUND"),
        ({"permission": DISCOVER, "node": "nothing"}, "NOT_FOUND"),
        ({"permission": DISCOVER, "node": encode_id("Model", "0198e0f2-6d1c-7c3e-9a51-67756c646861")}, "NOT_FOUND"),
        ({"permission": DISCOVER, "actor": "nobody"}, "NOT_FOUND"),
        ({"permission": DISCOVER, "actor": encode_id("Model", "0198e0f2-6d1c-7c3e-9a51-67756c646861")}, "NOT_FOUND"),
        ({"permission": DISCOVER, "actor": encode_id("User", "0198e0f2-6d1c-7c3e-9a51-67756c646861")}, "NOT_FOUND"),
        ({"permission": DISCOVER, "actor": encode_id("ServiceAccount", "0198e0f2-6d1c-7c3e-9a51-67756c646861")},
         "NOT_FOUND"),
    ])  # fmt: skip
    async def test_what_is_not_there_is_not_found(self, ask: Asker, about: dict[str, str], code: str) -> None:
        rest = {name: value for name, value in about.items() if name != "permission"}
        assert await explained(ask, "ada", about["permission"], **rest) == code
