"""Requests that ask for trouble, each with the code under which we refuse it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

DEEP_FRAGMENTS = "".join(f" fragment F{index} on Query {{ ...F{index + 1} }}" for index in range(200))
DOUBLING = "".join(f" fragment F{index} on Query {{ ...F{index + 1} ...F{index + 1} }}" for index in range(60))
CROSSED = "".join(
    f" fragment F{index} on Query {{ a{index}: __typename {' '.join(f'...F{to}' for to in range(20))} }}"
    for index in range(20)
)
PAGES = "teams(first: 100) { nodes { models(first: 100) { nodes { versions(first: 100) { nodes { id } } } } } }"


@dataclass(frozen=True)
class Abuse:
    """A body and the code of its refusal."""

    name: str
    body: bytes
    code: str


def _document(name: str, text: str, code: str = "DOCUMENT_TOO_COMPLEX", **more: object) -> Abuse:
    return Abuse(name, json.dumps({"query": text, **more}).encode(), code)


def corpus() -> Iterator[Abuse]:
    """One of each kind that is known to have hurt a GraphQL server."""
    yield _document("1,000 aliases", "{" + " ".join(f"a{index}:__typename" for index in range(1_000)) + "}")
    yield _document(
        "10,000 aliases", "{" + " ".join(f"a{index}:x" for index in range(10_000)) + "}", "DOCUMENT_TOO_LARGE"
    )
    yield _document("400 operations", " ".join(f"query Q{index}{{__typename}}" for index in range(400)))
    yield _document("a field 1,900 times", "{" + " x" * 1_900 + "}")
    yield _document("a field 7,000 times", "{" + " x" * 7_000 + "}")
    yield _document("fields within fields", "{ a " * 60 + "}" * 60)
    yield _document("4,000 brackets", "{a" * 4_000)
    yield _document("a list 3,000 deep", "{ a(b: " + "[" * 3_000 + "]" * 3_000 + ") }")
    yield _document("an object 2,000 deep", "{ a(b: " + "{b:" * 2_000 + "1" + "}" * 2_000 + ") }")
    yield _document("a type 3,000 deep", "query($a: " + "[" * 3_000 + "Int" + "]" * 3_000 + ") { a }")
    yield _document("500 directives on a field", "{ a" + " @a" * 500 + " }")
    yield _document("directives on 60 fields", "{" + " a @include(if: true)" * 60 + " }")
    yield _document("fragments 200 deep", "{ ...F0 }" + DEEP_FRAGMENTS)
    yield _document("fragments that double 60 times", "{ ...F0 }" + DOUBLING)
    yield _document("fragments that spread each other", "{ ...F0 }" + CROSSED)
    yield _document("a fragment 600 times", "{" + " ...F" * 600 + " } fragment F on Query { a b c d }")
    yield _document("a fragment that nobody spreads", "{ a } fragment F on Query {" + " x" * 1_900 + "}")
    yield _document(
        "a fragment hidden by another of its name",
        "{ __typename { ...F } } fragment F on Query {" + " x { y }" * 470 + " } fragment F on Query { __typename }",
        "GRAPHQL_VALIDATION_FAILED",
    )
    yield _document(
        "introspection in circles", "{ __schema { types " + "{ fields { type " * 12 + "{ name }" + " } }" * 12 + " } }"
    )
    yield _document("pages within pages", "{ " + PAGES + " }", "QUERY_TOO_COSTLY")
    yield _document(
        "pages by a variable", "query($n: Int = 100) { " + PAGES.replace("100", "$n") + " }", "QUERY_TOO_COSTLY"
    )
    yield _document("a long document", "{ a } #" + "x" * 1_000_000, "DOCUMENT_TOO_LARGE")
    yield _document("escapes", '{ a(b: "' + "\\n" * 7_000 + '") ' + "c " * 3_000 + "}", "DOCUMENT_TOO_LARGE")
    yield _document("long variables", "{ a }", "VARIABLES_TOO_LARGE", variables={"x": "y" * 1_100_000})
    yield _document(
        "many variables", "{ a }", "VARIABLES_TOO_LARGE", variables={f"v{index}": index for index in range(90_000)}
    )
    yield _document("long lists of variables", "{ __typename }", "VARIABLES_TOO_LARGE", variables={"x": ["y"] * 20_000})
    yield Abuse("a body of 4 MB", b'{"query": "' + b" " * 4_000_000, "BODY_TOO_LARGE")
    yield Abuse("JSON 100,000 deep", b'{"query": "{ a }", "variables": ' + b"[" * 100_000, "BAD_REQUEST")
    yield Abuse("a batch", b"[" + b",".join([b'{"query": "{ __typename }"}'] * 1_000) + b"]", "BAD_REQUEST")
    yield Abuse("invalid UTF-8", b'{"query": "{ a(b: \\"\xff\xfe\\") }"}', "BAD_REQUEST")
    yield Abuse("half a surrogate pair", b'{"query": "{ a(b: \\"\\ud800\\") }"}', "BAD_REQUEST")
    yield Abuse("a number beyond everything", b'{"query": "{ a }", "variables": {"n": 1e999}}', "BAD_REQUEST")
