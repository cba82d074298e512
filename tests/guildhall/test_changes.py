"""What differs, in the words of a file."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from guildhall.changes import Difference, compared, exchanged, in_words

EVENING = datetime(2026, 11, 21, 20, tzinfo=timezone(timedelta(hours=1)))


class TestCompared:
    def test_what_is_new_is_told_whole(self) -> None:
        told = compared(None, {"title": "Optics", "image": None, "nodes": 2})
        assert told == (Difference("title", None, "Optics"), Difference("nodes", None, "2"))

    def test_only_what_differs(self) -> None:
        before = {"kept": 1, "changed": "a", "gone": True}
        told = compared(before, {"added": "c", "kept": 1, "changed": "b"})
        assert told == (
            Difference("changed", "a", "b"),
            Difference("gone", "true", None),
            Difference("added", None, "c"),
        )

    def test_the_same_moment_elsewhere_is_the_same(self) -> None:
        assert compared({"at": EVENING}, {"at": EVENING.astimezone(UTC)}) == ()


class TestExchanged:
    def test_each_by_itself(self) -> None:
        assert exchanged("role", ["viewer", "steward"], ["steward", "maintainer"]) == (
            Difference("role", "viewer", None),
            Difference("role", None, "maintainer"),
        )


class TestInWords:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (None, None),
            ("", None),
            ([], None),
            ({}, None),
            (0, "0"),
            (False, "false"),
            (EVENING, "2026-11-21T19:00:00Z"),
            ({"gpu": "a100", "zone": None}, "gpu=a100"),
            ([{"key": "gpu"}, {"key": "spot"}], "key=gpu, key=spot"),
            (("a", ""), "a, "),
        ],
    )
    def test_as_a_file_says_it(self, value: object, words: str | None) -> None:
        assert in_words(value) == words
