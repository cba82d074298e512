"""W3C Trace Context: which trace of the caller's a request belongs to, and the span that it is here."""

import re
from uuid import UUID

import msgspec

_TRACEPARENT = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")


class Trace(msgspec.Struct, frozen=True):
    """The trace, the span of this request, and whether the caller keeps it (`flags`)."""

    trace_id: str
    span_id: str
    flags: str

    def header(self) -> str:
        """As `traceresponse` tells it back."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def trace_of(traceparent: str, fresh: UUID) -> Trace:
    """The caller's trace where the header names one, else a new one; `fresh` is where new ids come from."""
    own = fresh.hex
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or not int(found["trace"], 16) or not int(found["span"], 16):
        return Trace(own, own[16:], "00")
    return Trace(found["trace"], own[16:], found["flags"])
