"""GraphQL over HTTP: what programs, browsers and attackers get."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from guildhall.app import create_app
from guildhall.auth.tables import Token
from guildhall.db.transaction import Database, connect_database
from guildhall.hints import HINTS
from guildhall.http import watching
from guildhall.settings import Settings

GRAPHQL = "application/graphql-response+json"
NAME = {"query": "{ __typename }"}


def code(answer: httpx.Response) -> str:
    found: str = answer.json()["errors"][0]["extensions"]["code"]
    return found


class TestNegotiation:
    @pytest.mark.parametrize(
        ("accept", "want"),
        [
            (None, "application/json"),
            ("*/*", "application/json"),
            ("application/*", "application/json"),
            ("application/json", "application/json"),
            (GRAPHQL, GRAPHQL),
            (f"{GRAPHQL}; charset=utf-8, application/json; q=0.9", GRAPHQL),
            (f"application/json; q=0.5, {GRAPHQL}; q=0.8", GRAPHQL),
            ("text/html, application/json; q=0.1", "application/json"),
        ],
    )
    async def test_the_accept_header_decides(self, client: httpx.AsyncClient, accept: str | None, want: str) -> None:
        client.headers.pop("accept", None)
        answer = await client.post("/graphql", json=NAME, headers={} if accept is None else {"accept": accept})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"{want}; charset=utf-8"
        assert answer.json() == {"data": {"__typename": "Query"}}

    async def test_what_cannot_be_given_is_406(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/graphql", json=NAME, headers={"accept": "text/csv"})
        assert answer.status_code == 406
        assert code(answer) == "BAD_REQUEST"


class TestRequests:
    @pytest.mark.parametrize(
        ("content", "headers", "status"),
        [
            (b'{"query": "{ __typename }"}', {"content-type": "application/json; charset=UTF-8"}, 200),
            (b'{"query": "{ __typename }"}', {"content-type": "application/json; charset=latin-1"}, 415),
            (b'{"query": "{ __typename }"}', {"content-type": "text/plain"}, 415),
            (b'{"query": "{ __typename }"}', {}, 415),
            (b"query=%7B__typename%7D", {"content-type": "application/x-www-form-urlencoded"}, 415),
            (b"{", {"content-type": "application/json"}, 400),
            (b"", {"content-type": "application/json"}, 400),
            (b'{"query": "\xff"}', {"content-type": "application/json"}, 400),
            (b"[" * 100_000, {"content-type": "application/json"}, 400),
            (b'[{"query": "{ __typename }"}]', {"content-type": "application/json"}, 400),
            (b"null", {"content-type": "application/json"}, 400),
            (b"{}", {"content-type": "application/json"}, 400),
            (b'{"query": 1}', {"content-type": "application/json"}, 400),
            (b'{"query": ""}', {"content-type": "application/json"}, 400),
            (b'{"query": "{ __typename }", "variables": []}', {"content-type": "application/json"}, 400),
            (b'{"query": "{ __typename }", "variables": "{}"}', {"content-type": "application/json"}, 400),
            (b'{"query": "{ __typename }", "operationName": 7}', {"content-type": "application/json"}, 400),
            (b'{"query": "{ __typename }", "extensions": 7}', {"content-type": "application/json"}, 400),
            (b'{"query": "{ __typename }", "variables": null}', {"content-type": "application/json"}, 200),
        ],
    )
    async def test_only_one_json_object_in_utf_8_is_a_request(
        self, client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int
    ) -> None:
        answer = await client.post("/graphql", content=content, headers=headers)
        assert answer.status_code == status
        if status != 200:
            assert code(answer) == "BAD_REQUEST"

    @pytest.mark.parametrize("half", ["\\ud800", "\\udc00", "\\ud83d\\ude00 \\uDBFF"])
    async def test_half_a_character_is_told_as_such(self, client: httpx.AsyncClient, half: str) -> None:
        content = f'{{"query": "{{ __typename }}", "variables": {{"x": "{half}"}}}}'
        answer = await client.post("/graphql", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        (error,) = answer.json()["errors"]
        told = f"{half.rsplit(maxsplit=1)[-1]} is half of a surrogate pair, which is no character."
        assert error["message"].endswith(told)

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    async def test_other_methods_are_405(self, client: httpx.AsyncClient, method: str) -> None:
        answer = await client.request(method, "/graphql")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")

    async def test_get_runs_no_mutations(self, client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
        headers = {"authorization": f"Bearer {tokens['mia']}"}
        query = "query ($name: String!) { team(name: $name) { title } }"
        answer = await client.get(
            "/graphql", params={"query": query, "variables": '{"name": "press"}'}, headers=headers
        )
        assert answer.json() == {"data": {"team": {"title": "Press"}}}
        refused = await client.get(
            "/graphql",
            params={"query": 'mutation { revokeToken(input: {tokenId: "x"}) { errors { code } } }'},
            headers=headers,
        )
        assert (refused.status_code, refused.headers["allow"], code(refused)) == (405, "POST", "METHOD_NOT_ALLOWED")

    @pytest.mark.parametrize("accept", ["application/json", GRAPHQL, "text/event-stream"])
    async def test_a_mutation_by_get_changes_nothing_however_it_is_to_be_answered(
        self, client: httpx.AsyncClient, tokens: dict[str, str], database: Database, accept: str
    ) -> None:
        mutation = 'mutation { issueToken(input: {label: "by GET", durationSeconds: 3600}) { errors { code } } }'
        headers = {"authorization": f"Bearer {tokens['ada']}", "accept": accept}
        refused = await client.get("/graphql", params={"query": mutation}, headers=headers)
        assert (refused.status_code, refused.headers["allow"], code(refused)) == (405, "POST", "METHOD_NOT_ALLOWED")
        assert refused.headers["content-type"].partition(";")[0] in {"application/json", GRAPHQL}
        async with database.transaction() as session:
            assert await session.scalar(select(func.count()).where(Token.label == "by GET")) == 0
        document = {"query": mutation.replace("by GET", f"by POST for {accept}")}
        told = await client.post("/graphql", json=document, headers=headers)
        assert '{"data":{"issueToken":{"errors":[]}}}' in told.text

    async def test_a_query_by_get_may_be_a_stream(self, client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
        headers = {"authorization": f"Bearer {tokens['mia']}", "accept": "text/event-stream"}
        answer = await client.get("/graphql", params={"query": "{ __typename }"}, headers=headers)
        assert 'event: next\ndata: {"data":{"__typename":"Query"}}' in answer.text
        refused = await client.get("/graphql", params={"query": "{ nothing }"}, headers=headers)
        assert (refused.status_code, "GRAPHQL_VALIDATION_FAILED" in refused.text) == (200, True)

    async def test_a_get_without_a_query_is_no_request(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/graphql", headers={"accept": "application/json"})).status_code == 400


class TestStatus:
    @pytest.mark.parametrize(
        ("body", "want"),
        [
            ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
            ({"query": "{ __typename(a: 1) }"}, "GRAPHQL_VALIDATION_FAILED"),
            ({"query": "query ($a: Int!) { __typename @include(if: $a) }"}, "GRAPHQL_VALIDATION_FAILED"),
            ({"query": "query A { __typename } query B { __typename }"}, "OPERATION_RESOLUTION_FAILURE"),
            ({"query": "{ __typename }", "operationName": "B"}, "OPERATION_RESOLUTION_FAILURE"),
            ({"query": "fragment F on Query { __typename }"}, "GRAPHQL_VALIDATION_FAILED"),
            ({"query": "{ ...F } fragment F on Query { ...F }"}, "GRAPHQL_VALIDATION_FAILED"),
            ({"query": "query ($n: Boolean!) { __typename @skip(if: $n) }"}, "BAD_USER_INPUT"),
            (
                {"query": "query ($n: Boolean!) { __typename @skip(if: $n) }", "variables": {"n": 2**70}},
                "BAD_USER_INPUT",
            ),
        ],
    )
    async def test_a_request_that_is_not_executed(
        self, client: httpx.AsyncClient, body: dict[str, Any], want: str
    ) -> None:
        strict = await client.post("/graphql", json=body, headers={"accept": GRAPHQL})
        assert (strict.status_code, code(strict)) == (400, want)
        assert "data" not in strict.json()
        lenient = await client.post("/graphql", json=body, headers={"accept": "application/json"})
        assert (lenient.status_code, code(lenient)) == (200, want)

    async def test_several_operations_are_told_apart_by_name(self, client: httpx.AsyncClient) -> None:
        body = {"query": "query A { __typename } query B { other: __typename }", "operationName": "B"}
        assert (await client.post("/graphql", json=body)).json() == {"data": {"other": "Query"}}


ALIASES_BEHIND_FRAGMENTS = """{ ...A }
    fragment A on Query { ...B ...B }
    fragment B on Query { ...C ...C ...C ...C ...C ...C ...C ...C }
    fragment C on Query { a: __typename b: __typename c: __typename d: __typename }"""
DEEP = (
    '{ node(id: "x") { ... on Team { '
    + "serviceAccounts(first: 1) { nodes { team { " * 6
    + "id"
    + " } } }" * 6
    + " } } }"
)


FIELDS_BEHIND_FRAGMENTS = (
    "{" + "".join(f" f{index} {{ ...A }}" for index in range(42)) + " } fragment A on Team {"
    + "".join(f" g{index}" for index in range(50)) + " }"
)  # fmt: skip


class TestLimits:
    async def refused(self, client: httpx.AsyncClient, body: Any, status: int, want: str) -> str:
        answer = await client.post("/graphql", json=body, headers={"accept": GRAPHQL})
        assert (answer.status_code, code(answer)) == (status, want)
        return str(answer.json()["errors"][0]["message"])

    async def test_a_document_has_a_most_of_bytes(self, client: httpx.AsyncClient, app_settings: Settings) -> None:
        fitting = "{ __typename } #" + "x" * (app_settings.graphql_document_bytes_max - 16)
        assert (await client.post("/graphql", json={"query": fitting})).status_code == 200
        message = await self.refused(client, {"query": fitting + "x"}, 413, "DOCUMENT_TOO_LARGE")
        assert message == "A document has 16384 bytes at most."

    async def test_variables_have_a_most_of_bytes(self, client: httpx.AsyncClient) -> None:
        body = {**NAME, "variables": {"x": "y" * 1_048_576}}
        await self.refused(client, body, 413, "VARIABLES_TOO_LARGE")

    async def test_a_body_is_not_read_beyond_its_most(self, client: httpx.AsyncClient) -> None:
        headers = {"content-type": "application/json", "accept": GRAPHQL}
        answer = await client.post("/graphql", content=b" " * 5_000_000, headers=headers)
        assert (answer.status_code, code(answer)) == (413, "BODY_TOO_LARGE")

    @pytest.mark.parametrize(
        ("document", "message"),
        [
            ("{" + " a" * 2_100 + "}", "2000 tokens"),
            ("{" + "".join(f" a{index}: __typename" for index in range(51)) + "}", "50 aliases"),
            (ALIASES_BEHIND_FRAGMENTS, "50 aliases"),
            ("{" + " __typename @include(if: true)" * 51 + "}", "50 directives"),
            (DEEP, "15 fields within each other"),
            (FIELDS_BEHIND_FRAGMENTS, "2000 fields"),
            ("{" + " __typename" * 102 + "}", "100 repeated fields"),
        ],
        ids=[
            "tokens",
            "aliases",
            "aliases behind fragments",
            "directives",
            "depth",
            "fields behind fragments",
            "repeated",
        ],
    )
    async def test_a_document_may_not_be_complex(self, client: httpx.AsyncClient, document: str, message: str) -> None:
        assert message in await self.refused(client, {"query": document}, 400, "DOCUMENT_TOO_COMPLEX")

    @pytest.mark.parametrize(
        "document", ["{" * 8_000, "[" * 8_000, "{ a(b: " + "[" * 1_900, "query ($a: " + "[" * 1_900]
    )
    async def test_deep_nesting_is_one_clear_error(self, client: httpx.AsyncClient, document: str) -> None:
        answer = await client.post("/graphql", json={"query": document}, headers={"accept": GRAPHQL})
        assert answer.status_code == 400
        assert code(answer) in {"DOCUMENT_TOO_COMPLEX", "GRAPHQL_PARSE_FAILED"}


class TestCallers:
    @pytest.mark.parametrize(
        "query", ["{ viewer { permissions } }", "{ nothing { at { all } } }", "{ __typename team }", "mutation { a }"]
    )
    async def test_without_a_token_there_is_a_typename_and_nothing_else(
        self, client: httpx.AsyncClient, query: str
    ) -> None:
        answer = await client.post("/graphql", json={"query": query})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="Guildhall"'
        assert answer.json() == {
            "errors": [
                {
                    "message": "Sign in first: send a token as `Authorization: Bearer …`.",
                    "extensions": {"code": "UNAUTHENTICATED", "hint": HINTS["UNAUTHENTICATED"]},
                }
            ]
        }

    async def test_without_a_token_the_schema_is_an_empty_world(self, client: httpx.AsyncClient) -> None:
        query = '{ __typename team: __type(name: "Team") { name } query: __type(name: "Query") { fields { name } } }'
        answer = await client.post("/graphql", json={"query": query})
        assert answer.json() == {"data": {"__typename": "Query", "team": None, "query": {"fields": []}}}

    @pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", "Bearer ghu_" + "a" * 38])
    async def test_a_token_that_does_not_count_is_refused_not_ignored(
        self, client: httpx.AsyncClient, header: str
    ) -> None:
        answer = await client.post("/graphql", json=NAME, headers={"authorization": header})
        assert answer.status_code == 401
        assert code(answer) in {"TOKEN_REFUSED", "UNAUTHENTICATED"}

    async def test_a_request_carries_its_id_through(self, client: httpx.AsyncClient) -> None:
        assert (await client.post("/graphql", json=NAME, headers={"x-request-id": "abc-1"})).headers[
            "x-request-id"
        ] == "abc-1"
        made = (await client.post("/graphql", json=NAME, headers={"x-request-id": "a b\x7f"})).headers["x-request-id"]
        assert len(made) == 36

    async def test_a_database_that_is_away_is_503(
        self, app_settings: Settings, module_clock: Any, tokens: dict[str, str]
    ) -> None:
        away = connect_database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
        app: Any = create_app(app_settings, away, module_clock)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://guildhall.example"
        ) as client:
            headers = {"authorization": f"Bearer {tokens['mia']}"}
            answer = await client.post("/graphql", json=NAME, headers=headers)
            assert (answer.status_code, code(answer), answer.headers["retry-after"]) == (
                503,
                "DATABASE_UNAVAILABLE",
                "5",
            )
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
            assert (await client.get("/healthz")).json() == {"status": "alive"}
        await away.close()


class TestIntrospection:
    async def test_it_is_a_setting(
        self, database: Database, app_settings: Settings, module_clock: Any, tokens: dict[str, str]
    ) -> None:
        closed: Any = create_app(
            replace(app_settings, graphql_introspection=False, graphql_suggestions=False, graphql_graphiql=False),
            database,
            module_clock,
        )
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=closed), base_url="http://guildhall.example"
        ) as client:
            headers = {"authorization": f"Bearer {tokens['mia']}"}
            answer = await client.post("/graphql", json={"query": "{ __schema { types { name } } }"}, headers=headers)
            assert code(answer) == "GRAPHQL_VALIDATION_FAILED"
            for typo in ("{ teem { id } }", "{ team(name: 1) { id } }", "{ viewer }", "{ viewer { id { x } } }"):
                answer = await client.post("/graphql", json={"query": typo}, headers=headers)
                (told,) = answer.json()["errors"]
                key = told["extensions"].pop("errorId")
                assert told == {
                    "message": f"The document does not fit the schema; what is wrong with it is in the log as {key}.",
                    "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"},
                }
            page = await client.get("/graphql", headers={"accept": "text/html"})
            assert page.status_code == 406


class TestBody:
    async def test_json_is_written_in_utf_8(self, client: httpx.AsyncClient) -> None:
        body = json.dumps({"query": '{ __typename @skip(if: "ü") }'})
        answer = await client.post("/graphql", content=body, headers={"content-type": "application/json"})
        assert "ü" in answer.content.decode("utf-8")


class TestFailures:
    async def test_no_such_address(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/nowhere")
        assert answer.status_code == 404
        assert answer.json() == {"error": {"code": "NOT_FOUND", "message": "Not Found."}}

    async def test_another_method(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/healthz")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, OPTIONS")
        assert answer.json()["error"]["code"] == "METHOD_NOT_ALLOWED"

    async def test_a_fault_of_ours_is_masked_under_the_request_s_id(
        self,
        client: httpx.AsyncClient,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def broken(*_: Any) -> bytes:
            raise ZeroDivisionError("a secret of ours")

        monkeypatch.setattr(watching, "generate_latest", broken)
        answer = await client.get("/metrics", headers={"x-request-id": "broken-1"})
        assert answer.status_code == 500
        assert answer.json()["error"] == {
            "code": "INTERNAL_ERROR",
            "message": "Something went wrong on our side; it is in the log as broken-1.",
        }
        assert "a secret of ours" in caplog.text
