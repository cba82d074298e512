"""The headers by which a client asks for a part of a file, or only for one that has changed (RFC 9110, 13 and 14)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)


@dataclass(frozen=True)
class Span:
    """Bytes from `start` up to `end`, exclusive; `partial` when the client asked for a part."""

    start: int
    end: int
    partial: bool

    @property
    def size_bytes(self) -> int:
        """How many bytes that are."""
        return self.end - self.start


def entity_tag(sha256: str) -> str:
    """The strong ETag of a file: its digest."""
    return f'"{sha256}"'


def is_unchanged(headers: Mapping[str, str], tag: str) -> bool:
    """Whether the client says, with If-None-Match, that it has this very file."""
    given = headers.get("if-none-match")
    if given is None:
        return False
    tags = [part.strip().removeprefix("W/") for part in given.split(",")]
    return "*" in tags or tag in tags


def wanted_span(headers: Mapping[str, str], size_bytes: int, tag: str) -> Span | None:
    """The bytes to send; None where the range lies outside of the file.

    A Range that is not understood, that names several ranges, or whose If-Range names another file counts for nothing:
    then the whole file is the answer.
    """
    whole = Span(0, size_bytes, partial=False)
    match = _RANGE.fullmatch(headers.get("range", ""))
    if match is None or headers.get("if-range", tag).strip() != tag:
        return whole
    first, last = match.groups()
    if not first and not last:
        return whole
    if not first:
        start, end = max(size_bytes - int(last), 0), size_bytes
    else:
        start, end = int(first), size_bytes if not last else min(int(last) + 1, size_bytes)
        if last and int(last) < start:
            return whole
    return Span(start, end, partial=True) if start < end else None
