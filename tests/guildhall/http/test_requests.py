"""A short body is read at once, a longer one by its parts; both are read alike."""

import pytest

from guildhall.errors import GuildhallError
from guildhall.graphql.execution import Request
from guildhall.graphql.trusted import TrustedDocuments, digest_of
from guildhall.http.requests import MalformedRequest, RequestReader
from guildhall.settings import Settings

KNOWN = "{ viewer { id } }"
NESTED = 100_000
HALF = "\\ud83d is half of a surrogate pair, which is no character"


@pytest.fixture
def reader() -> RequestReader:
    return RequestReader(Settings(), TrustedDocuments({digest_of(KNOWN): KNOWN}, only=False))


def both(reader: RequestReader, body: bytes) -> list[Request | tuple[type[GuildhallError], str]]:
    """What the body says as it is, and with so much white space before its end that it is read by its parts."""
    said: list[Request | tuple[type[GuildhallError], str]] = []
    for each in (body, body[:-1] + b" " * Settings().graphql_document_bytes_max + body[-1:]):
        try:
            said.append(reader.from_body(each))
        except GuildhallError as error:
            said.append((type(error), error.message.partition(" (byte")[0]))
    return said


class TestFromBody:
    @pytest.mark.parametrize(
        ("body", "want"),
        [
            (b'{"query":"{ a }"}', Request("{ a }")),
            (b'{"query":"{ a }","query":"{ b }","else":1}', Request("{ b }")),
            (b'{"query":"{ \\u00e4 }"}', Request("{ ä }")),
            (b'{"query":"{ a }","variables":{"n":1.5,"m":[null]}}', Request("{ a }", {"n": 1.5, "m": [None]})),
            (b'{"query":"{ a }","variables":null,"extensions":null,"operationName":null}', Request("{ a }")),
            (b'{"query":"query A { a }","operationName":"A"}', Request("query A { a }", None, "A")),
            (b'{"query":"{ a }","extensions":{"cost":true}}', Request("{ a }", wants_cost=True)),
            (b'{"query":"{ a }","extensions":{"cost":1}}', Request("{ a }")),
            (b'{"documentId":"sha256:%b"}' % digest_of(KNOWN).encode(), Request(KNOWN)),
            (
                b'{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"%b"}}}' % digest_of(KNOWN).encode(),
                Request(KNOWN),
            ),
        ],
    )  # fmt: skip
    def test_requests(self, reader: RequestReader, body: bytes, want: Request) -> None:
        assert both(reader, body) == [want, want]

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b'{"query":1}', "`query` must be a string."),
            (b'{"query":1,"query":"{ a }","variables":[]}', "`variables` must be an object."),
            (b'{"query":"{ a }","operationName":{}}', "`operationName` must be a string."),
            (b'{"query":"{ a }","extensions":"none"}', "`extensions` must be an object."),
            (b'{"query":"{ a }","documentId":7}', "`documentId` must be a string."),
            (b'{"query":"\\ud83d"}', f"The body is not JSON: {HALF}."),
            (b'{"query":"{ a }","variables":{"n":"\\ud83d"}}', f"The body is not JSON: {HALF}."),
            (b'[{"query":"{ a }"}]', "A request is one JSON object with `query`; batches are not taken."),
            (b'{"variables":{"n":' + b"[" * NESTED + b"]" * NESTED + b"}}", "The body is nested too deeply."),
        ],
    )  # fmt: skip
    def test_mistakes(self, reader: RequestReader, body: bytes, told: str) -> None:
        assert both(reader, body) == [(MalformedRequest, told)] * 2

    def test_variables_are_no_deeper_than_a_document(self, reader: RequestReader) -> None:
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            body = b'{"query":"{ a }","variables":{"n":' + opening * 62 + b"[7]" + closing * 62 + b"}}"
            assert [isinstance(each, Request) for each in both(reader, body)] == [True, True]
            deeper = body.replace(b"[7]", b"[[7]]")
            told = "`variables` has 64 brackets within each other at most."
            assert both(reader, deeper) == [(MalformedRequest, told)] * 2

    def test_of_a_name_given_twice_the_last_counts_also_where_the_first_is_wrong(self, reader: RequestReader) -> None:
        assert both(reader, b'{"query":1,"query":"{ a }"}') == [Request("{ a }")] * 2
