"""The one place that turns errors into answers: refusals with their code, all else masked under an id in the log.

A database that is away or busy is a refusal already when it comes here: see `guildhall.db.transaction`.
"""

import logging
from typing import Any
from uuid import UUID

from graphql import GraphQLError
from strawberry.exceptions import StrawberryInputCoercionError

from guildhall.clock import IdSource
from guildhall.errors import GuildhallError, InvalidInput, Problem
from guildhall.hints import hint_of

logger = logging.getLogger(__name__)


def format_error(error: GraphQLError, *, new_id: IdSource) -> dict[str, Any]:
    """An error of the answer's `errors`, always with `extensions.code`."""
    shown: dict[str, Any] = {"message": error.message}
    if error.locations:
        shown["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    if error.path is not None:
        shown["path"] = list(error.path)
    message, extensions = _explain(error, new_id)
    shown["message"] = message
    shown["extensions"] = extensions
    return shown


def _explain(error: GraphQLError, new_id: IdSource) -> tuple[str, dict[str, Any]]:
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    if isinstance(cause, GuildhallError):
        return cause.message, refusal_extensions(cause)
    if isinstance(cause, StrawberryInputCoercionError):  # a choice of one that names none, or several
        return cause.message, {"code": "BAD_USER_INPUT"}
    if cause is None or isinstance(cause, GraphQLError):
        code = (error.extensions or {}).get("code")
        if code is not None:
            return error.message, {**(error.extensions or {}), **_hinted(code)}
        # graphql-core itself: a null where the schema promised none, which is ours to mend
        return _masked(error, new_id())
    return _masked(cause, new_id())


def refusal_extensions(error: GuildhallError) -> dict[str, Any]:
    """Code, field and details of a refusal, and what to do next."""
    extensions: dict[str, Any] = {"code": error.code}
    if error.field is not None:
        extensions["field"] = error.field
    if error.details:
        extensions["details"] = error.details
    if isinstance(error, InvalidInput):
        extensions["problems"] = problems(error)
    return {**extensions, **_hinted(error.code)}


def problems(error: GuildhallError) -> list[dict[str, Any]]:
    """Each thing wrong with an input: the payload's `errors` of a refusal that the caller can mend."""
    found = error.problems if isinstance(error, InvalidInput) else [Problem(error.code, error.message, error.field)]
    return [
        {"code": item.code, "message": item.message, "field": item.field, "hint": hint_of(item.code)} for item in found
    ]


def _hinted(code: str) -> dict[str, str]:
    hint = hint_of(code)
    return {} if hint is None else {"hint": hint}


def _masked(error: BaseException, error_id: UUID) -> tuple[str, dict[str, Any]]:
    """A fault of ours: the caller gets an id, the log has the rest under it."""
    logger.error("error %s", error_id, exc_info=error)
    message = f"Something went wrong on our side; it is in the log as {error_id}."
    return message, {"code": "INTERNAL_ERROR", "errorId": str(error_id)}
