"""What scalars take and how they write."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from guildhall.credits import MICRO
from guildhall.errors import Invalid
from guildhall.graphql.scalars import (
    parse_big_int,
    parse_credits_input,
    parse_date,
    parse_moment,
    serialize_moment,
)


class TestMoments:
    @pytest.mark.parametrize(
        ("text", "want"),
        [
            ("2026-03-02T08:00:00Z", datetime(2026, 3, 2, 8, tzinfo=UTC)),
            ("2026-03-02t08:00:00z", datetime(2026, 3, 2, 8, tzinfo=UTC)),
            ("2026-03-02T10:00:00+02:00", datetime(2026, 3, 2, 8, tzinfo=UTC)),
            ("2026-03-02T08:00:00.123456789Z", datetime(2026, 3, 2, 8, 0, 0, 123456, tzinfo=UTC)),
            ("2026-03-02T08:00:00.5Z", datetime(2026, 3, 2, 8, 0, 0, 500000, tzinfo=UTC)),
        ],
    )
    def test_rfc_3339_with_an_offset(self, text: str, want: datetime) -> None:
        assert parse_moment(text) == want

    @pytest.mark.parametrize("value", ["2026-03-02", "2026-03-02T08:00:00", "now", 1, None, "2026-02-30T00:00:00Z", ""])
    def test_nothing_else(self, value: object) -> None:
        with pytest.raises(ValueError, match=r"DateTime|such moment"):
            parse_moment(value)

    @pytest.mark.parametrize(
        "text",
        [
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "1970-01-01T00:00:00+00:01",
            "9001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
        ],
    )
    def test_none_that_the_driver_takes_for_infinity(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"A DateTime lies between the years 1970 and 9000 \(UTC\), such as"):
            parse_moment(text)

    @pytest.mark.parametrize("text", ["1970-01-01T00:00:00.000000Z", "9000-12-31T23:59:59.999999Z"])
    def test_the_first_and_the_last(self, text: str) -> None:
        assert serialize_moment(parse_moment(text)) == text

    def test_infinities_of_rows_are_written_all_the_same(self) -> None:
        assert serialize_moment(datetime.min) == "0001-01-01T00:00:00.000000Z"  # noqa: DTZ901 -- as the driver has it
        assert serialize_moment(datetime.max) == "9999-12-31T23:59:59.999999Z"  # noqa: DTZ901 -- as the driver has it

    def test_one_way_of_writing_each(self) -> None:
        moment = datetime(2026, 3, 2, 10, tzinfo=timezone(timedelta(hours=2)))
        assert serialize_moment(moment) == "2026-03-02T08:00:00.000000Z"


class TestDates:
    def test_a_calendar_day(self) -> None:
        assert parse_date("2026-03-02") == date(2026, 3, 2)

    @pytest.mark.parametrize("value", ["0001-01-01", "1969-12-31", "9001-01-01", "9999-12-31"])
    def test_none_too_far_away(self, value: str) -> None:
        with pytest.raises(ValueError, match="A Date lies between the years 1970 and 9000, such as"):
            parse_date(value)

    @pytest.mark.parametrize("value", ["1970-01-01", "9000-12-31"])
    def test_the_first_and_the_last(self, value: str) -> None:
        assert parse_date(value).isoformat() == value

    @pytest.mark.parametrize("value", ["2026-3-2", "20260302", "2026-02-30", 5, None])
    def test_nothing_else(self, value: object) -> None:
        with pytest.raises(ValueError, match=r"Date|such day"):
            parse_date(value)


class TestBigInts:
    @pytest.mark.parametrize(("value", "want"), [("0", 0), ("-5", -5), (7, 7), (str(2**63 - 1), 2**63 - 1)])
    def test_decimal_strings_and_numbers(self, value: object, want: int) -> None:
        assert parse_big_int(value) == want

    @pytest.mark.parametrize("value", [str(2**63), str(-(2**63) - 1), "9" * 40, "-" + "9" * 5_000, 2**63, 10**400])
    def test_beyond_64_bits_the_range_is_told(self, value: object) -> None:
        with pytest.raises(ValueError, match="lies between -9223372036854775808 and 9223372036854775807"):
            parse_big_int(value)

    @pytest.mark.parametrize("value", ["1.5", "1e3", "", True, 1.5, None, "٣", "-"])
    def test_nothing_else(self, value: object) -> None:
        with pytest.raises(ValueError, match="decimal string"):
            parse_big_int(value)


class TestCredits:
    def test_a_decimal_string(self) -> None:
        assert parse_credits_input("12.5") == 12_500_000
        assert parse_credits_input("-1") == -MICRO

    def test_a_number_is_refused_because_json_would_round_it(self) -> None:
        with pytest.raises(ValueError, match="decimal string"):
            parse_credits_input(12.5)

    @pytest.mark.parametrize("value", ["", "1.1234567", "9" * 30, "NaN", "1,5"])
    def test_what_is_no_amount(self, value: str) -> None:
        with pytest.raises(Invalid):
            parse_credits_input(value)
