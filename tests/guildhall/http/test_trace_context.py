"""W3C Trace Context: the caller's trace goes on, a malformed one is not taken over."""

from uuid import UUID

import pytest

from guildhall.http.trace_context import Trace, trace_of

FRESH = UUID("0192a3b4-c5d6-7e8f-9a0b-1c2d3e4f5a6b")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class TestTraceOf:
    def test_the_caller_s_trace_goes_on_in_a_span_of_ours(self) -> None:
        trace = trace_of(f"00-{TRACE}-{SPAN}-01", FRESH)
        assert trace == Trace(TRACE, "9a0b1c2d3e4f5a6b", "01")
        assert trace.header() == f"00-{TRACE}-9a0b1c2d3e4f5a6b-01"

    @pytest.mark.parametrize(
        "given",
        [
            "", "nonsense", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-x", f"00-{TRACE}-{SPAN}",
        ],
    )  # fmt: skip
    def test_anything_else_begins_a_new_one(self, given: str) -> None:
        assert trace_of(given, FRESH) == Trace(FRESH.hex, "9a0b1c2d3e4f5a6b", "00")
