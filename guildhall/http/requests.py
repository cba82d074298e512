"""From bytes to a GraphQL request: what GraphQL over HTTP allows, and how much of it."""

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from guildhall.errors import Invalid
from guildhall.graphql.execution import Request
from guildhall.graphql.limits import DocumentTooLarge, VariablesTooLarge
from guildhall.graphql.outline import NESTING_MAX
from guildhall.graphql.trusted import TrustedDocuments
from guildhall.settings import Settings

BODY_BYTES_BESIDES = 16_384
"""What a body may have beyond the document and the variables: the rest of its JSON, and escapes."""

_QUERY_FIELDS_MAX = 20
_ABSENT = msgspec.Raw(b"null")
_NESTED = frozenset({dict, list})
"""What holds values, of what JSON is read as: asked of each value by its type, at a third of what isinstance takes."""
_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class MalformedRequest(Invalid):
    """A request that is not GraphQL over HTTP."""

    code = "BAD_REQUEST"


class _Body(msgspec.Struct):
    """The parts as they came: how long they are is asked before they are read. Of a name given twice, the last."""

    query: msgspec.Raw = _ABSENT
    variables: msgspec.Raw = _ABSENT
    operationName: msgspec.Raw = _ABSENT  # noqa: N815 -- as it stands in the JSON
    extensions: msgspec.Raw = _ABSENT
    documentId: msgspec.Raw = _ABSENT  # noqa: N815 -- same


class _Short(msgspec.Struct):
    """The parts of a body that as a whole is no longer than any of them may be: read at once."""

    query: str | None = None
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815 -- as it stands in the JSON
    extensions: dict[str, Any] | None = None
    documentId: str | None = None  # noqa: N815 -- same


class RequestReader:
    """Reads requests within the limits of the settings; a document may be named by its hash instead of sent."""

    def __init__(self, settings: Settings, trusted: TrustedDocuments) -> None:
        self._settings = settings
        self._trusted = trusted
        self._decoder = msgspec.json.Decoder(_Body)
        self._short_decoder = msgspec.json.Decoder(_Short)
        self._short_bytes_max = min(settings.graphql_document_bytes_max, settings.graphql_variables_bytes_max)
        self.body_bytes_max = (
            2 * (settings.graphql_document_bytes_max + settings.graphql_variables_bytes_max) + BODY_BYTES_BESIDES
        )

    def from_body(self, body: bytes) -> Request:
        """The request of a JSON body; raises Invalid or LimitExceeded."""
        if len(body) <= self._short_bytes_max:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # said below
                short = self._short_decoder.decode(body)
                return self._named(
                    short.query, short.variables, short.operationName, short.extensions, short.documentId
                )
        try:
            parts = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise MalformedRequest("A request is one JSON object with `query`; batches are not taken.") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedRequest(f"The body is not JSON: {_reason(body, error)}.") from error
        except RecursionError as error:
            raise MalformedRequest("The body is nested too deeply.") from error
        return self._request(parts)

    def from_query_string(self, query_string: bytes) -> Request:
        """The request of a GET; raises Invalid or LimitExceeded."""
        try:
            given = parse_qs(
                query_string.decode("ascii"),
                keep_blank_values=True,
                max_num_fields=_QUERY_FIELDS_MAX,
                errors="strict",
            )
        except ValueError as error:
            raise MalformedRequest("The query string cannot be read.") from error
        values = {name: found[0] for name, found in given.items() if found[0]}
        texts = {name: values[name] for name in ("query", "operationName", "documentId") if name in values}
        parts = _Body(**{name: msgspec.Raw(msgspec.json.encode(text)) for name, text in texts.items()})
        for name in ("variables", "extensions"):
            if name in values:
                setattr(parts, name, msgspec.Raw(values[name].encode()))
        return self._request(parts)

    def _request(self, parts: _Body) -> Request:
        settings = self._settings
        if len(bytes(parts.variables)) > settings.graphql_variables_bytes_max:
            raise VariablesTooLarge(f"Variables have {settings.graphql_variables_bytes_max} bytes at most.")
        if len(bytes(parts.query)) > 6 * settings.graphql_document_bytes_max + 2:  # each byte may be written \u00XX
            raise DocumentTooLarge(f"A document has {settings.graphql_document_bytes_max} bytes at most.")
        text = _string(parts.query, "query")
        if text is not None and len(text.encode()) > settings.graphql_document_bytes_max:
            raise DocumentTooLarge(f"A document has {settings.graphql_document_bytes_max} bytes at most.")
        extensions = _object(parts.extensions, "extensions")
        document_id = _string(parts.documentId, "documentId")
        variables, name = _object(parts.variables, "variables"), _string(parts.operationName, "operationName")
        return self._named(text, variables, name, extensions, document_id)

    def _named(
        self,
        text: str | None,
        variables: Mapping[str, Any] | None,
        operation_name: str | None,
        extensions: Mapping[str, Any] | None,
        document_id: str | None,
    ) -> Request:
        """The request with the document that it names; raises MalformedRequest, and what TrustedDocuments has."""
        _require_shallow(variables or {})
        document = self._trusted.text_of(text or None, document_id, extensions or {})
        wants_cost = extensions is not None and extensions.get("cost") is True
        return Request(document, variables, operation_name, wants_cost)


def _string(part: msgspec.Raw, name: str) -> str | None:
    value = _decoded(part, name)
    if value is not None and not isinstance(value, str):
        raise MalformedRequest(f"`{name}` must be a string.")
    return value


def _object(part: msgspec.Raw, name: str) -> Mapping[str, Any] | None:
    value = _decoded(part, name)
    if value is not None and not isinstance(value, Mapping):
        raise MalformedRequest(f"`{name}` must be an object.")
    return value


def _decoded(part: msgspec.Raw, name: str) -> Any:  # noqa: ANN401 -- any JSON
    if part is _ABSENT:
        return None
    try:
        return msgspec.json.decode(part)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"`{name}` is not JSON: {_reason(bytes(part), error)}.") from error
    except RecursionError as error:
        raise MalformedRequest(f"`{name}` is nested too deeply.") from error


def _require_shallow(variables: Mapping[str, Any]) -> None:
    """As deep as a literal may be and no deeper: whatever reads the values afterwards may recurse."""
    level: list[Any] = [variables]
    for _ in range(NESTING_MAX):
        level = [each for found in level for each in _inside(found) if type(each) in _NESTED]
        if not level:
            return
    raise MalformedRequest(f"`variables` has {NESTING_MAX} brackets within each other at most.")


def _inside(found: Mapping[str, Any] | list[Any]) -> Iterable[Any]:
    return found.values() if isinstance(found, Mapping) else found


def _reason(text: bytes, error: Exception) -> str:
    """What is wrong with JSON; of half a character the reader says no more than that something is missing."""
    half = _HALF.search(_PAIR.sub(b"", text))
    return str(error) if half is None else f"{half[0].decode()} is half of a surrogate pair, which is no character"
