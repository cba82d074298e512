"""GraphQL over HTTP as an operation: data, or an error that says what to do."""

import json
from collections.abc import Generator
from typing import Any

from guildhall_client.documents import Document
from guildhall_client.errors import MutationRefused, Problem, Refused, Unreachable
from guildhall_client.steps import Answer, Send, Step, send_patiently

ACCEPT = "application/graphql-response+json, application/json;q=0.9"
UNKNOWN_HASH = frozenset({"PERSISTED_QUERY_NOT_FOUND", "BAD_REQUEST"})


def execute(document: str, variables: dict[str, Any] | None) -> Generator[Step, Any, dict[str, Any]]:
    """Run one document and return its `data`; any GraphQL error raises `Refused`.

    A document of this package is named by its hash, which a server that runs trusted documents only asks for; an
    older server, which does not know it, is sent the text.
    """
    parsed: dict[str, Any] = {}
    if isinstance(document, Document):
        parsed = yield from _send({"documentId": document.trusted_id, "variables": variables or {}})
    if not parsed or _code(parsed) in UNKNOWN_HASH:
        parsed = yield from _send({"query": document, "variables": variables or {}})
    if parsed.get("errors"):
        first = parsed["errors"][0]
        path = ".".join(str(part) for part in first.get("path", ()))
        message = f"{first['message'].removesuffix('.')} (at {path})" if path else first["message"]
        extensions = first.get("extensions", {})
        raise Refused(extensions.get("code", "UNKNOWN"), message, extensions.get("hint"))
    data: dict[str, Any] = parsed["data"]
    return data


def mutate(document: str, inputs: dict[str, Any]) -> Generator[Step, Any, dict[str, Any]]:
    """Run a document with one mutation field and `$input`; its `errors` raise `MutationRefused`."""
    data = yield from execute(document, {"input": inputs})
    ((operation, payload),) = data.items()
    if payload["errors"]:
        problems = [
            Problem(error["code"], error.get("field"), error["message"], error.get("hint"))
            for error in payload["errors"]
        ]
        raise MutationRefused(operation, problems)
    found: dict[str, Any] = payload
    return found


def _send(request: dict[str, Any]) -> Generator[Step, Any, dict[str, Any]]:
    headers = {"Content-Type": "application/json", "Accept": ACCEPT}
    answer = yield from send_patiently(Send("POST", "graphql", json.dumps(request).encode(), headers))
    return _parsed(answer)


def _code(parsed: dict[str, Any]) -> str | None:
    errors = parsed.get("errors")
    code: str | None = errors[0].get("extensions", {}).get("code") if errors else None
    return code


def _parsed(answer: Answer) -> dict[str, Any]:
    if answer.unreachable is not None:
        raise Unreachable(f"the server does not answer: {answer.unreachable}")
    try:
        parsed: dict[str, Any] = json.loads(answer.body)
        if "data" in parsed or "errors" in parsed:
            return parsed
    except (ValueError, TypeError):
        pass
    raise Unreachable(f"the server answered {answer.status}, but not as Guildhall does; is the address right?")
