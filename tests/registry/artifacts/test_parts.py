"""How large the parts of a file are."""

import pytest

from registry.artifacts.files import FILE_BYTES_MAX
from registry.artifacts.parts import PARTS_MAX, part_bytes_begun, part_bytes_of

MIB = 1024 * 1024
GIB = 1024 * MIB


class TestPartBytesOf:
    @pytest.mark.parametrize(
        ("file_bytes", "want"),
        [
            (0, 8 * MIB),
            (256 * MIB, 8 * MIB),
            (256 * MIB + 32, 9 * MIB),
            (GIB, 32 * MIB),
            (100 * GIB, 32 * MIB),
            (313 * GIB, 33 * MIB),
            (FILE_BYTES_MAX, 525 * MIB),
        ],
    )
    def test_grow_with_the_file(self, file_bytes: int, want: int) -> None:
        assert part_bytes_of(file_bytes, least_bytes=8 * MIB) == want

    @pytest.mark.parametrize("file_bytes", [80 * GIB + 1, 313 * GIB, FILE_BYTES_MAX])
    def test_no_file_has_more_parts_than_are_taken(self, file_bytes: int) -> None:
        assert -(-file_bytes // part_bytes_of(file_bytes, least_bytes=64 * 1024)) <= PARTS_MAX

    def test_an_operator_may_want_larger_ones(self) -> None:
        assert part_bytes_of(GIB, least_bytes=64 * MIB) == 64 * MIB


class TestPartBytesBegun:
    @pytest.mark.parametrize(
        ("file_bytes", "first_bytes", "want"),
        [
            (GIB, None, 32 * MIB),
            (GIB, 8 * MIB, 8 * MIB),
            (GIB, 32 * MIB, 32 * MIB),
            (GIB, 33 * MIB, 32 * MIB),
            (100, 100, 100),
            (0, 0, 8 * MIB),
            (PARTS_MAX * MIB, MIB, MIB),
            (PARTS_MAX * MIB, MIB - 1, 32 * MIB),
        ],
        ids=[
            "nothing came", "smaller", "as now", "larger than is taken", "all of it", "an empty file", "the most parts",
            "too many parts",
        ],
    )  # fmt: skip
    def test_are_those_that_came_where_they_may_be(self, file_bytes: int, first_bytes: int | None, want: int) -> None:
        assert part_bytes_begun(file_bytes, least_bytes=8 * MIB, first_bytes=first_bytes) == want
