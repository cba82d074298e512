"""Errors as callers see them: known ones with their sentence, unknown ones masked."""

from typing import Any

import pytest
from graphql import GraphQLError
from sqlalchemy.exc import OperationalError
from strawberry.exceptions import StrawberryInputCoercionError

from guildhall.clock import new_id
from guildhall.errors import Conflict, Invalid, InvalidInput, LimitExceeded, Problem
from guildhall.graphql.answers import format_error, problems
from guildhall.hints import HINTS


class Taken(Conflict):
    code = "TAKEN"


class Expired(Invalid):
    code = "QUOTE_EXPIRED"


class Driver(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("the driver's own words")
        self.sqlstate = sqlstate


def shown(cause: Exception | None, *, message: str = "core", **options: Any) -> dict[str, Any]:
    return format_error(GraphQLError(message, original_error=cause, **options), new_id=new_id)


class TestFormatError:
    def test_a_refusal_keeps_its_code_field_and_details(self) -> None:
        error = shown(Taken("Somebody has it.", field="name", details={"by": "ada"}), path=["a", 0])
        assert error == {
            "message": "Somebody has it.",
            "path": ["a", 0],
            "extensions": {"code": "TAKEN", "field": "name", "details": {"by": "ada"}},
        }

    def test_several_problems_are_told_together(self) -> None:
        error = shown(InvalidInput([Problem("A", "One.", "a"), Problem("B", "Two.")]))
        assert error["message"] == "One. Two."
        assert error["extensions"]["problems"] == [
            {"code": "A", "message": "One.", "field": "a", "hint": None},
            {"code": "B", "message": "Two.", "field": None, "hint": None},
        ]

    def test_what_to_do_next_stands_beside_the_code(self) -> None:
        assert shown(Expired("Too late."))["extensions"] == {"code": "QUOTE_EXPIRED", "hint": HINTS["QUOTE_EXPIRED"]}
        assert problems(Expired("Too late.", field="quoteId")) == [
            {"code": "QUOTE_EXPIRED", "message": "Too late.", "field": "quoteId", "hint": HINTS["QUOTE_EXPIRED"]}
        ]

    def test_a_refusal_below_another_graphql_error_is_found(self) -> None:
        inner = GraphQLError("inner", original_error=LimitExceeded("Too many."))
        assert shown(inner)["extensions"] == {"code": "LIMIT_EXCEEDED"}

    def test_an_error_of_the_library_without_a_code_is_ours_to_mend(self, caplog: pytest.LogCaptureFixture) -> None:
        error = shown(None, message="Cannot return null for non-nullable field X.y.")
        assert error["extensions"]["code"] == "INTERNAL_ERROR"
        assert "non-nullable" not in error["message"]
        assert "Cannot return null" in caplog.text

    @pytest.mark.parametrize(
        "error", [ZeroDivisionError("secret"), OperationalError("secret statement", None, Driver("22012"))]
    )
    def test_anything_else_is_masked(self, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
        told = shown(error)
        assert told["extensions"]["code"] == "INTERNAL_ERROR"
        assert "secret" not in str(told)
        assert told["extensions"]["errorId"] in caplog.text

    def test_a_choice_of_one_that_names_several_is_the_caller_s_to_mend(self) -> None:
        cause = StrawberryInputCoercionError("OneOf Input Object 'Source' must specify exactly one key.")
        error = shown(cause)
        assert error["extensions"] == {"code": "BAD_USER_INPUT"}
        assert error["message"] == "OneOf Input Object 'Source' must specify exactly one key."
