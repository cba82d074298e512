"""Tokens through the API: made once, shown once, ended at once."""

from sqlalchemy import select

from guildhall.db.transaction import Database
from guildhall.graphql.tables import IdempotencyKey
from tests.guildhall.conftest import Asker

ISSUE = """mutation ($input: IssueTokenInput!) { issueToken(input: $input) {
    secret token { id label prefix revokedAt holder { ... on User { email } ... on ServiceAccount { name } } }
    errors { code field message } } }"""
REVOKE = """mutation ($input: RevokeTokenInput!) { revokeToken(input: $input) {
    token { id revokedAt } errors { code field } } }"""
OWN = "{ viewer { tokens(first: 20) { nodes { id label } } } }"


class TestIssueToken:
    async def test_one_s_own_token_signs_in_until_it_is_ended(self, ask: Asker, tokens: dict[str, str]) -> None:
        made = (await ask("mia", ISSUE, input={"label": "laptop", "durationSeconds": 60}))["data"]["issueToken"]
        assert made["errors"] == []
        assert made["token"]["holder"] == {"email": "mia@example.org"}
        assert made["secret"].startswith(made["token"]["prefix"])
        tokens["mia's laptop"] = made["secret"]
        seen = (await ask("mia's laptop", OWN))["data"]["viewer"]["tokens"]["nodes"]
        assert {"id": made["token"]["id"], "label": "laptop"} in seen
        ended = (await ask("mia", REVOKE, input={"tokenId": made["token"]["id"]}))["data"]["revokeToken"]
        assert ended["errors"] == []
        assert ended["token"]["revokedAt"] is not None
        refused = await ask("mia's laptop", OWN)
        assert refused["errors"][0]["extensions"]["code"] == "TOKEN_REFUSED"

    async def test_the_text_is_answered_once_and_never_stored(self, ask: Asker, database: Database) -> None:
        given = {"label": "once", "durationSeconds": 60, "idempotencyKey": "once"}
        first = (await ask("mia", ISSUE, input=given))["data"]["issueToken"]
        again = (await ask("mia", ISSUE, input=given))["data"]["issueToken"]
        assert first["secret"] is not None
        assert again == {**first, "secret": None}
        async with database.read() as session:
            (answer,) = (await session.scalars(select(IdempotencyKey.answer).where(IdempotencyKey.key == "once"))).all()
        assert first["secret"] not in str(answer)

    async def test_for_others_it_takes_an_administrator(self, ask: Asker, tokens: dict[str, str]) -> None:
        given = {"label": "given", "durationSeconds": 60, "email": "Nora@example.org"}
        refused = await ask("mia", ISSUE, input=given)
        assert refused["errors"][0]["extensions"]["code"] == "PERMISSION_REFUSED"
        made = (await ask("ada", ISSUE, input=given))["data"]["issueToken"]
        assert made["token"]["holder"] == {"email": "nora@example.org"}
        tokens["nora's"] = made["secret"]
        assert (await ask("nora's", OWN))["data"]["viewer"]["tokens"]["nodes"] != []

    async def test_wrong_inputs_are_named(self, ask: Asker) -> None:
        nobody = {"team": "press", "name": "none"}
        for given, field in (
            ({"label": "x", "durationSeconds": 0}, "durationSeconds"),
            ({"label": "x", "durationSeconds": 2**31 - 1}, "durationSeconds"),
            ({"label": "x", "durationSeconds": 60, "email": "none@example.org"}, "email"),
            ({"label": "x", "durationSeconds": 60, "serviceAccount": nobody}, "serviceAccount"),
            ({"label": "x", "durationSeconds": 60, "email": "a@b.c", "serviceAccount": nobody}, "serviceAccount"),
        ):
            answer = (await ask("ada", ISSUE, input=given))["data"]["issueToken"]
            assert [error["field"] for error in answer["errors"]] == [field]
            assert answer["secret"] is None


class TestRevokeToken:
    async def test_without_an_id_the_one_that_is_shown(self, ask: Asker, tokens: dict[str, str]) -> None:
        for label in ("desk", "bench"):
            made = (await ask("mia", ISSUE, input={"label": label, "durationSeconds": 60}))["data"]["issueToken"]
            tokens[f"mia's {label}"] = made["secret"]
        ended = (await ask("mia's desk", REVOKE, input={}))["data"]["revokeToken"]
        assert ended["errors"] == []
        assert ended["token"]["revokedAt"] is not None
        refused = await ask("mia's desk", OWN)
        assert refused["errors"][0]["extensions"]["code"] == "TOKEN_REFUSED"
        assert "errors" not in await ask("mia's bench", OWN)

    async def test_what_is_not_theirs_is_not_found(self, ask: Asker) -> None:
        made = (await ask("ada", ISSUE, input={"label": "ada's", "durationSeconds": 60}))["data"]["issueToken"]
        for key in (made["token"]["id"], "Token_1", "Token_" + "0" * 32):
            answer = (await ask("mia", REVOKE, input={"tokenId": key}))["data"]["revokeToken"]
            assert [error["code"] for error in answer["errors"]] == ["NOT_FOUND"]
        seen = await ask("mia", "query ($id: ID!) { node(id: $id) { id } }", id=made["token"]["id"])
        assert seen == {"data": {"node": None}}


class TestViewer:
    async def test_memberships_name_teams_and_the_organisation(self, ask: Asker) -> None:
        document = "{ viewer { actor { ... on User { name } } memberships { team { name } roles } permissions } }"
        mia = (await ask("mia", document))["data"]["viewer"]
        assert mia["memberships"] == [{"team": {"name": "press"}, "roles": ["maintainer"]}]
        assert "registry:model:discover" in mia["permissions"]
        assert "guildhall:audit:read" not in mia["permissions"]
        otto = (await ask("otto", document))["data"]["viewer"]
        assert otto["actor"] == {"name": "Otto"}
        assert otto["memberships"] == [{"team": None, "roles": ["auditor"]}]
        assert "guildhall:audit:read" in otto["permissions"]
        assert (await ask("nora", document))["data"]["viewer"]["memberships"] == []


class TestAuditEvents:
    async def test_only_auditors_read_them(self, ask: Asker) -> None:
        document = "{ auditEvents(first: 1) { nodes { id } } viewer { permissions } }"
        answer = await ask("ada", document)
        assert answer["data"]["auditEvents"] is None
        assert answer["data"]["viewer"]["permissions"] != []
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"

    async def test_filters_take_any_id_and_refuse_what_is_none(self, ask: Asker) -> None:
        await ask("mia", ISSUE, input={"label": "seen", "durationSeconds": 60})
        viewer = (await ask("mia", "{ viewer { actor { id } } }"))["data"]["viewer"]["actor"]["id"]
        document = """query ($filter: AuditFilter) { auditEvents(first: 50, filter: $filter) {
            nodes { action actor { id } occurredAt before after } } }"""
        found = (await ask("otto", document, filter={"actorId": viewer}))["data"]["auditEvents"]["nodes"]
        assert {event["actor"]["id"] for event in found} == {viewer}
        assert "guildhall:token:issue" in {event["action"] for event in found}
        refused = await ask("otto", document, filter={"resourceId": "nonsense"})
        assert refused["errors"][0]["extensions"] == {"code": "NOT_FOUND", "field": "filter"}
        later = await ask("otto", document, filter={"occurredAt": {"from": "2099-01-01T00:00:00Z"}})
        assert later["data"]["auditEvents"]["nodes"] == []
