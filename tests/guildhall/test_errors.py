"""The tree of refusals."""

import pytest

from guildhall.errors import (
    MESSAGE_CHARACTERS_MAX,
    Conflict,
    Forbidden,
    GuildhallError,
    Invalid,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Problem,
    Unauthenticated,
    Unavailable,
)


class TestFamilies:
    @pytest.mark.parametrize(
        ("family", "code"),
        [
            (Invalid, "INVALID_INPUT"),
            (NotFound, "NOT_FOUND"),
            (Conflict, "CONFLICT"),
            (Forbidden, "FORBIDDEN"),
            (Unauthenticated, "UNAUTHENTICATED"),
            (LimitExceeded, "LIMIT_EXCEEDED"),
            (Unavailable, "UNAVAILABLE"),
        ],
    )
    def test_carry_their_code_sentence_field_and_details(self, family: type[GuildhallError], code: str) -> None:
        refusal = family("It cannot be.", field="job.name", details={"missing": "12.5"})
        assert (refusal.code, refusal.message, str(refusal), refusal.field, refusal.details) == (
            code, "It cannot be.", "It cannot be.", "job.name", {"missing": "12.5"},
        )  # fmt: skip

    def test_are_siblings(self) -> None:
        assert {family.__name__ for family in GuildhallError.__subclasses__()} >= {
            "Invalid", "NotFound", "Conflict", "Forbidden", "Unauthenticated", "LimitExceeded", "Unavailable",
        }  # fmt: skip
        assert not issubclass(NotFound, Forbidden)


class TestInvalidInput:
    def test_tells_all_problems_together(self) -> None:
        problems = [Problem("INVALID_SLUG", "No name.", "name"), Problem("TOO_LONG", "Too long.")]
        refusal = InvalidInput(problems)
        assert (refusal.message, refusal.field) == ("No name. Too long.", "name")
        assert refusal.problems == tuple(problems)


class TestShortened:
    def test_a_sentence_keeps_its_length(self) -> None:
        """What a caller sent may be long; the beginning and the end of the sentence stay."""
        told = NotFound(f"There is no team named {'x' * 10_000!r}.").message
        assert len(told) <= MESSAGE_CHARACTERS_MAX
        assert told.startswith("There is no team named 'xxx")
        assert told.endswith("xxx'.")
        assert Problem("TOO_LONG", "y" * 10_000).message == Invalid("y" * 10_000).message

    def test_of_the_most_characters_is_left_alone(self) -> None:
        text = "x" * MESSAGE_CHARACTERS_MAX
        assert NotFound(text).message == text
