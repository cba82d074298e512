"""Which rows a sample holds, and when one sample is part of another."""

import pytest

from registry.minimisation.filters import DataFilter, RowSample, data_filter

SEED = bytes(32)


class TestRowSample:
    def test_the_first_rows(self) -> None:
        sample = RowSample(first_rows=2)
        assert [sample.holds(SEED, place) for place in range(4)] == [True, True, False, False]

    def test_a_fraction_is_about_so_large_and_the_smaller_lies_in_the_larger(self) -> None:
        tenth, hundredth = RowSample(millionths=100_000), RowSample(millionths=10_000)
        of_tenth = {place for place in range(100_000) if tenth.holds(SEED, place)}
        of_hundredth = {place for place in range(100_000) if hundredth.holds(SEED, place)}
        assert (len(of_tenth), len(of_hundredth)) == (9_962, 1_054)
        assert of_hundredth < of_tenth

    def test_another_file_gives_other_rows(self) -> None:
        tenth = RowSample(millionths=100_000)
        drawn = [{place for place in range(1_000) if tenth.holds(seed, place)} for seed in (SEED, b"1" * 32)]
        assert drawn[0] != drawn[1]

    @pytest.mark.parametrize(
        ("inner", "outer", "want"),
        [
            (RowSample(first_rows=1), RowSample(first_rows=2), True),
            (RowSample(first_rows=3), RowSample(first_rows=2), False),
            (RowSample(first_rows=1), RowSample(millionths=500_000), False),
            (RowSample(millionths=1), RowSample(millionths=2), True),
            (RowSample(millionths=2), RowSample(millionths=1), False),
            (RowSample(millionths=2), RowSample(first_rows=1), False),
        ],
    )
    def test_within(self, inner: RowSample, outer: RowSample, want: bool) -> None:
        assert inner.within(outer) is want


class TestDataFilter:
    def test_nothing_to_filter(self) -> None:
        assert data_filter(None, None, None) is None

    @pytest.mark.parametrize("given", [(["b", "a"], None, None), (None, 3, None), (["a"], None, 5)])
    def test_there_and_back(self, given: tuple[list[str] | None, int | None, int | None]) -> None:
        limits = data_filter(*given)
        assert limits is not None
        assert DataFilter.from_json(limits.as_json()) == limits

    def test_equal_filters_have_equal_digests(self) -> None:
        one, other, third = (
            data_filter(*given) for given in ((["a", "b"], 1, None), (["b", "a"], 1, None), (["a"], 1, None))
        )
        assert one is not None
        assert other is not None
        assert third is not None
        assert one.digest == other.digest != third.digest

    def test_a_preview_is_another_filter_and_there_and_back(self) -> None:
        limits, preview = DataFilter(columns=frozenset({"a"})), DataFilter(columns=frozenset({"a"}), shown_rows=2)
        assert DataFilter.from_json(preview.as_json()) == preview
        assert limits.digest != preview.digest
        assert DataFilter.from_json(DataFilter(shown_rows=2).as_json()) == DataFilter(shown_rows=2)
