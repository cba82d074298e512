"""Which of our media types an Accept header asks for."""

from functools import lru_cache

GRAPHQL_JSON = "application/graphql-response+json"
PLAIN_JSON = "application/json"
HTML = "text/html"

RANGES_MAX = 20
"""How many ranges of an Accept header are read; browsers send eight."""

KEPT_MAX = 200
KEPT_CHARACTERS_MAX = 300
"""How many headers are remembered with what they like best, and how long they are at most."""


def accepted(header: str, offered: tuple[str, ...]) -> str | None:
    """The offered type that the header likes best; ties go to the more specific, then to the first offered."""
    return _kept(header, offered) if len(header) <= KEPT_CHARACTERS_MAX else _accepted(header, offered)


def _accepted(header: str, offered: tuple[str, ...]) -> str | None:
    if not header.strip():
        return offered[0]
    best: tuple[float, int, int] | None = None
    chosen = None
    for place, offer in enumerate(offered):
        quality, specific = _quality(header, offer)
        rank = (quality, specific, -place)
        if quality > 0 and (best is None or rank > best):
            best, chosen = rank, offer
    return chosen


_kept = lru_cache(maxsize=KEPT_MAX)(_accepted)


def _quality(header: str, offer: str) -> tuple[float, int]:
    """The weight of the most specific range that covers the offer."""
    found = (0.0, -1)
    kind = offer.split("/", 1)[0]
    for part in header.split(",", RANGES_MAX)[:RANGES_MAX]:
        name, *parameters = [piece.strip().lower() for piece in part.split(";")]
        specific = {offer: 2, f"{kind}/*": 1, "*/*": 0}.get(name, -1)
        if specific <= found[1]:
            continue
        weight = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        charset = next((piece[8:].strip('"') for piece in parameters if piece.startswith("charset=")), "utf-8")
        try:
            quality = float(weight)
        except ValueError:
            quality = 0.0
        found = (quality if charset in {"utf-8", "utf8"} else 0.0, specific)
    return found
