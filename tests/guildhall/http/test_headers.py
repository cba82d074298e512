"""Headers by their names."""

from typing import Any

from guildhall.http.headers import headers_of


class TestHeadersOf:
    def test_of_a_name_sent_twice_the_last_counts(self) -> None:
        scope: Any = {"headers": [(b"accept", b"*/*"), (b"x-request-id", b"1"), (b"x-request-id", b"2")]}
        assert headers_of(scope) == {b"accept": b"*/*", b"x-request-id": b"2"}

    def test_they_are_read_once(self) -> None:
        scope: Any = {"headers": [(b"accept", b"*/*")], "state": {}}
        assert headers_of(scope) is headers_of(scope)
