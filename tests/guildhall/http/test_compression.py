"""Smaller bodies, for those who say that they can read them."""

import gzip

import pytest

from guildhall.http.compression import BYTES_IN_PLACE_MAX, compressed, takes_gzip


class TestTakesGzip:
    @pytest.mark.parametrize(
        ("header", "wanted"),
        [
            ("", False), ("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("gzip; q=0", False),
            ("*", True), ("*;q=0", False), ("*, gzip;q=0", False), ("gzip;q=x", False), ("identity", False),
            ("br," * 30 + "gzip", False),
        ],
    )  # fmt: skip
    def test_the_header_decides(self, header: str, wanted: bool) -> None:
        assert takes_gzip(header) is wanted


class TestCompressed:
    @pytest.mark.parametrize("size", [0, 5_000, BYTES_IN_PLACE_MAX + 1])
    async def test_it_is_the_same_when_opened_and_the_same_each_time(self, size: int) -> None:
        body = b"x" * size
        small = await compressed(body)
        assert gzip.decompress(small) == body
        assert await compressed(body) == small
