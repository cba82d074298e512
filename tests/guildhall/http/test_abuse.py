"""Requests that ask for trouble get one clear error, whoever sends them, and the server goes on."""

import httpx
import pytest

from tests.guildhall.http.abuse import Abuse, corpus

CORPUS = list(corpus())
HEADERS = {"content-type": "application/json", "accept": "application/graphql-response+json"}
BAD_INPUT = [
    ('{ teams(first: 1, after: "nonsense") { nodes { id } } }', {}, "INVALID_CURSOR"),
    ("{ teams(first: 100000) { nodes { id } } }", {}, "PAGE_TOO_LARGE"),
    ("{ teams { nodes { id } } }", {}, "FIRST_REQUIRED"),
    ("query($n: Int!) { teams(first: $n) { nodes { id } } }", {"n": "many"}, "BAD_USER_INPUT"),
    ("query($n: Int!) { teams(first: $n) { nodes { id } } }", {"n": 2**63}, "BAD_USER_INPUT"),
    ("query($n: Int!) { teams(first: $n) { nodes { id } } }", {"n": 10**400}, "BAD_USER_INPUT"),
    ("{ teams(first: 9223372036854775808) { nodes { id } } }", {}, "GRAPHQL_VALIDATION_FAILED"),
    ("{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }", {}, "GRAPHQL_VALIDATION_FAILED"),
    ("query A { viewer { permissions } } query B { viewer { permissions } }", {}, "OPERATION_RESOLUTION_FAILURE"),
    ('{ node(id: "\\u0000") { id } }', {}, None),
    ('{ node(id: "' + "x" * 10_000 + '") { id } }', {}, None),
]


class TestAbuse:
    @pytest.mark.parametrize("signed_in", [False, True], ids=["a stranger", "a member"])
    @pytest.mark.parametrize("abuse", CORPUS, ids=[abuse.name for abuse in CORPUS])
    async def test_it_is_refused_with_its_code(
        self, client: httpx.AsyncClient, tokens: dict[str, str], abuse: Abuse, signed_in: bool
    ) -> None:
        headers = {**HEADERS, "authorization": f"Bearer {tokens['mia']}"} if signed_in else HEADERS
        answer = await client.post("/graphql", content=abuse.body, headers=headers)
        (error,) = answer.json()["errors"]
        if abuse.code == "QUERY_TOO_COSTLY" and not signed_in:  # strangers see no pages
            assert error["extensions"]["code"] == "UNAUTHENTICATED"
            return
        assert error["extensions"]["code"] == abuse.code
        assert answer.status_code in {400, 413}
        assert len(answer.content) < 1_000


class TestBadInput:
    @pytest.mark.parametrize(("query", "variables", "code"), BAD_INPUT, ids=range(len(BAD_INPUT)))
    async def test_it_is_one_clear_error(
        self,
        client: httpx.AsyncClient,
        tokens: dict[str, str],
        query: str,
        variables: dict[str, object],
        code: str | None,
    ) -> None:
        headers = {**HEADERS, "authorization": f"Bearer {tokens['mia']}"}
        for _ in range(2):
            answer = await client.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
            assert answer.status_code in {200, 400}
            codes = {error["extensions"]["code"] for error in answer.json().get("errors", ())}
            assert codes == (set() if code is None else {code})
