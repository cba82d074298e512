"""Ranges and conditions: the part that was asked for, or the whole file where the question is no clear one."""

import pytest

from registry.http.ranges import Span, entity_tag, is_unchanged, wanted_span

TAG = entity_tag("ab")


class TestWantedSpan:
    @pytest.mark.parametrize(
        ("given", "want"),
        [
            (None, Span(0, 10, partial=False)),
            ("bytes=0-0", Span(0, 1, partial=True)),
            ("bytes=2-4", Span(2, 5, partial=True)),
            ("Bytes= 2-4 ", Span(2, 5, partial=True)),
            ("bytes=2-", Span(2, 10, partial=True)),
            ("bytes=0-", Span(0, 10, partial=True)),
            ("bytes=-3", Span(7, 10, partial=True)),
            ("bytes=-30", Span(0, 10, partial=True)),
            ("bytes=2-99", Span(2, 10, partial=True)),
            ("bytes=9-9", Span(9, 10, partial=True)),
            ("bytes=10-", None),
            ("bytes=10-12", None),
            ("bytes=-0", None),
            ("bytes=999999999999999999-", None),
            ("bytes=4-2", Span(0, 10, partial=False)),
            ("bytes=-", Span(0, 10, partial=False)),
            ("bytes=0-1,3-4", Span(0, 10, partial=False)),
            ("bytes=a-b", Span(0, 10, partial=False)),
            ("rows=0-1", Span(0, 10, partial=False)),
            ("bytes=0-1x", Span(0, 10, partial=False)),
        ],
    )
    def test_of_ten_bytes(self, given: str | None, want: Span | None) -> None:
        assert wanted_span({} if given is None else {"range": given}, 10, TAG) == want

    @pytest.mark.parametrize(
        ("given", "want"),
        [
            (None, Span(0, 0, partial=False)),
            ("bytes=0-", None),
            ("bytes=-1", None),
        ],
    )
    def test_of_no_bytes(self, given: str | None, want: Span | None) -> None:
        assert wanted_span({} if given is None else {"range": given}, 0, TAG) == want

    @pytest.mark.parametrize(("tag", "partial"), [(TAG, True), ('"other"', False), ("Mon, 02 Mar 2026", False)])
    def test_only_if_it_is_still_this_file(self, tag: str, partial: bool) -> None:
        span = wanted_span({"range": "bytes=2-4", "if-range": tag}, 10, TAG)
        assert span is not None
        assert span.partial is partial


class TestIsUnchanged:
    @pytest.mark.parametrize(
        ("given", "want"),
        [(None, False), (TAG, True), ('"x", W/"ab"', True), ("*", True), ('"x"', False), ("", False)],
    )
    def test_table(self, given: str | None, want: bool) -> None:
        assert is_unchanged({} if given is None else {"if-none-match": given}, TAG) is want
