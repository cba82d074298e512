"""Credits are whole micro-credits inside and a decimal string with up to six places outside; never a float."""

import re

from guildhall.errors import Invalid

MICRO = 1_000_000
MICRO_CREDITS_MAX = 2**63 - 1
"""What a `bigint` holds: about 9.2 million million credits."""

_CREDITS = re.compile(r"(-?)(\d{1,40})(?:\.(\d{1,6}))?")


class InvalidCredits(Invalid):
    """A text that is no amount of credits, or one that is out of range."""

    code = "INVALID_CREDITS"


def parse_credits(text: str, field: str | None = None) -> int:
    """Micro-credits of a decimal string such as "12.5", perhaps negative; raises InvalidCredits."""
    match = _CREDITS.fullmatch(text)
    if match is None or not text.isascii():
        shown = text if len(text) <= 50 else text[:50] + "…"
        raise InvalidCredits(
            f"{shown!r} is no amount of credits: write a decimal number with at most six places, such as 12.5.",
            field=field,
        )
    sign, whole, places = match.groups()
    micro = int(whole) * MICRO + int((places or "").ljust(6, "0"))
    if micro > MICRO_CREDITS_MAX:
        raise InvalidCredits(
            f"{text} credits are more than can be kept ({format_credits(MICRO_CREDITS_MAX)} at most).", field=field
        )
    return -micro if sign else micro


def format_credits(micro: int) -> str:
    """The shortest decimal string of the amount: 12_500_000 is "12.5", 12_000_000 is "12"."""
    whole, places = divmod(abs(micro), MICRO)
    text = f"{whole}.{places:06}".rstrip("0").rstrip(".") if places else str(whole)
    return f"-{text}" if micro < 0 else text
