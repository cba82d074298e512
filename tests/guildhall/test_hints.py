"""The table of hints: of codes that there are, and short."""

from guildhall.hints import HINTS, hint_of
from tools.reference_pages import refusals


class TestHints:
    def test_each_is_of_a_code_that_there_is(self) -> None:
        assert set(HINTS) - {each.code for each in refusals()} == set()

    def test_each_is_a_sentence(self) -> None:
        assert [text for text in HINTS.values() if not text.endswith(".") or len(text) > 200] == []

    def test_of_a_code_without_one(self) -> None:
        assert hint_of("NAME_TAKEN") is None
