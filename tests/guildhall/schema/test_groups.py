"""The table of groups and the rotation of tokens, as administrators see them."""

from typing import Any

LISTED = "{ groupMappings(first: 9) { nodes { id group role team { name } personCount } } }"
SET = """mutation($group: String!, $role: String!) {
    setGroupMapping(input: {group: $group, role: $role, team: "press"}) {
        groupMapping { group role team { name } } errors { code field }
    } }"""
REMOVE = "mutation($id: ID!) { removeGroupMapping(input: {groupMappingId: $id}) { removedId errors { code } } }"
ISSUE = """mutation($networks: [String!]) {
    issueToken(input: {label: "nightly", durationSeconds: 3600, networks: $networks, roles: ["viewer"]}) {
        token { id origin roles networks expiresAt } secret errors { code field }
    } }"""
ROTATE = """mutation($id: ID!, $overlap: Int!) {
    rotateToken(input: {tokenId: $id, durationSeconds: 7200, overlapSeconds: $overlap}) {
        token { label roles networks } replaced { id expiresAt } secret errors { code field }
    } }"""


class TestGroups:
    async def test_set_listed_and_removed(self, ask: Any) -> None:
        given = (await ask("ada", SET, group="printers", role="viewer"))["data"]["setGroupMapping"]
        assert given == {
            "groupMapping": {"group": "printers", "role": "viewer", "team": {"name": "press"}},
            "errors": [],
        }
        (line,) = (await ask("ada", LISTED))["data"]["groupMappings"]["nodes"]
        assert (line["group"], line["personCount"]) == ("printers", 0)
        gone = (await ask("ada", REMOVE, id=line["id"]))["data"]["removeGroupMapping"]
        assert gone == {"removedId": line["id"], "errors": []}
        assert (await ask("ada", LISTED))["data"]["groupMappings"]["nodes"] == []

    async def test_nobody_else_sees_or_sets_them(self, ask: Any) -> None:
        refused = await ask("mia", LISTED)
        assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        refused = await ask("mia", SET, group="printers", role="viewer")
        assert refused["errors"][0]["extensions"]["code"] == "PERMISSION_REFUSED"
        assert (await ask("ada", LISTED))["data"]["groupMappings"]["nodes"] == []


class TestRotation:
    async def test_a_limited_token_is_rotated(self, ask: Any) -> None:
        made = (await ask("ada", ISSUE, networks=["10.0.0.0/8"]))["data"]["issueToken"]
        assert made["errors"] == []
        limits = {"roles": ["viewer"], "networks": ["10.0.0.0/8"]}
        assert made["token"] == {**made["token"], "origin": "GUILDHALL", **limits}
        done = (await ask("ada", ROTATE, id=made["token"]["id"], overlap=60))["data"]["rotateToken"]
        assert done["token"] == {"label": "nightly", **limits}
        assert done["secret"] != made["secret"]
        assert done["replaced"]["expiresAt"] < made["token"]["expiresAt"]

    async def test_a_wrong_network_or_overlap_is_told(self, ask: Any) -> None:
        refused = (await ask("ada", ISSUE, networks=["here"]))["data"]["issueToken"]
        assert refused["errors"] == [{"code": "INVALID_NETWORK", "field": "networks"}]
        made = (await ask("ada", ISSUE, networks=None))["data"]["issueToken"]
        refused = (await ask("ada", ROTATE, id=made["token"]["id"], overlap=-1))["data"]["rotateToken"]
        assert refused["errors"] == [{"code": "INVALID_DURATION", "field": "overlapSeconds"}]
