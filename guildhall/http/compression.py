"""Bodies made smaller for who can read them so."""

import asyncio
import gzip

BYTES_MIN = 1_024
BYTES_IN_PLACE_MAX = 65_536
"""Above that a thread compresses, while the event loop goes on."""

LEVEL = 1
_CODINGS_MAX = 20


def takes_gzip(accept_encoding: str) -> bool:
    """Whether the header names gzip, or everything, with a weight above none."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(",", _CODINGS_MAX)[:_CODINGS_MAX]:
        name, _, weight = part.replace(" ", "").partition(";q=")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            weights[name] = 0.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0


async def compressed(body: bytes) -> bytes:
    """The body in gzip, the same bytes each time."""
    if len(body) <= BYTES_IN_PLACE_MAX:
        return gzip.compress(body, LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
