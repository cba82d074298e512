"""Credits as text: exact, at most six places, and never out of range."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildhall.credits import MICRO_CREDITS_MAX, InvalidCredits, format_credits, parse_credits


class TestParseCredits:
    @pytest.mark.parametrize(
        ("text", "micro"),
        [
            ("0", 0), ("-0", 0), ("12.5", 12_500_000), ("0.000001", 1), ("-3.25", -3_250_000), ("007", 7_000_000),
            ("9223372036854.775807", MICRO_CREDITS_MAX),
        ],
    )  # fmt: skip
    def test_reads(self, text: str, micro: int) -> None:
        assert parse_credits(text) == micro

    @pytest.mark.parametrize(
        "text",
        ["", ".", "1.", ".5", "1,5", "1e3", "+1", " 1", "1 ", "1.0000001", "NaN", "inf", "٣", "--1",
         "0x1", "1_000", "9" * 41],
    )  # fmt: skip
    def test_refuses_what_is_no_amount(self, text: str) -> None:
        with pytest.raises(InvalidCredits, match="is no amount of credits") as refusal:
            parse_credits(text, "input.credits")
        assert (refusal.value.code, refusal.value.field) == ("INVALID_CREDITS", "input.credits")

    @pytest.mark.parametrize("text", ["9223372036854.775808", "-9223372036854.775808", "9" * 40])
    def test_refuses_what_overflows(self, text: str) -> None:
        with pytest.raises(InvalidCredits, match="are more than can be kept"):
            parse_credits(text)

    def test_a_long_text_is_not_repeated_whole(self) -> None:
        with pytest.raises(InvalidCredits) as refusal:
            parse_credits("x" * 10_000)
        assert len(refusal.value.message) < 200


class TestFormatCredits:
    @pytest.mark.parametrize(
        ("micro", "text"), [(0, "0"), (12_500_000, "12.5"), (12_000_000, "12"), (1, "0.000001"), (-1, "-0.000001")]
    )
    def test_is_the_shortest(self, micro: int, text: str) -> None:
        assert format_credits(micro) == text

    @given(st.integers(min_value=-MICRO_CREDITS_MAX, max_value=MICRO_CREDITS_MAX))
    def test_is_read_back_exactly(self, micro: int) -> None:
        assert parse_credits(format_credits(micro)) == micro
