"""Names that stand in addresses."""

import pytest

from guildhall.slugs import InvalidSlug, require_slug


class TestRequireSlug:
    @pytest.mark.parametrize("value", ["a", "7", "gauge-digits", "a--b", "a" * 63])
    def test_allows(self, value: str) -> None:
        assert require_slug(value, "name") == value

    @pytest.mark.parametrize("value", ["", "-", "-a", "a-", "A", "a_b", "a b", "ä", "a\n", "a" * 64, "../x", "a.b"])
    def test_refuses(self, value: str) -> None:
        with pytest.raises(InvalidSlug, match="lower-case letters") as refusal:
            require_slug(value, "input.name")
        assert (refusal.value.code, refusal.value.field) == ("INVALID_SLUG", "input.name")

    def test_a_long_value_is_not_repeated_whole(self) -> None:
        with pytest.raises(InvalidSlug) as refusal:
            require_slug("x" * 10_000, None)
        assert len(refusal.value.message) < 250
