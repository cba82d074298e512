"""How large the parts of a file are."""

import pytest

from registry.artifacts.files import FILE_BYTES_MAX
from registry.artifacts.parts import PARTS_MAX, part_bytes_of

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
