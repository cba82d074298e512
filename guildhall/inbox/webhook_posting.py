"""One attempt to hand a message to a receiver. Only the status of its answer counts, and when it wants the next.

What it answers besides is never read: it would be kept for people to see, and an internal service must not be read in
this way by whoever may register webhooks.
"""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from guildhall.inbox.deliveries import Outcome
from guildhall.inbox.encryption import encryption_trouble
from guildhall.inbox.webhook_addresses import ALLOWED_BY, ConnectionNotAllowed, Network, guarded_sockets

ANSWER_SECONDS_MAX = 15.0
"""From the look-up of the name to the answer's headers, however slowly they come."""
HEADER_BYTES_MAX = 8_190
AGENT = "Guildhall-Webhooks/1"
_REST = frozenset({429, 503})
_GONE = 410


@asynccontextmanager
async def opened_client(
    networks: Sequence[Network], *, answer_seconds: float = ANSWER_SECONDS_MAX
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that connects to allowed addresses alone, to each anew, and keeps nothing of one receiver for others."""
    connector = aiohttp.TCPConnector(
        limit=0,  # how many there are at once is the dispatcher's to say
        force_close=True,
        use_dns_cache=False,
        socket_factory=guarded_sockets(networks),
        ssl=ssl.create_default_context(),  # of its own: the library's is as old as its import
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=answer_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
    ) as client:
        yield client


async def post(
    client: aiohttp.ClientSession, url: str, body: bytes, *, headers: Mapping[str, str], at: datetime
) -> Outcome:
    """What came of it; raises nothing that the receiver could cause."""
    sent = {"content-type": "application/json", "user-agent": AGENT, **headers}
    try:
        async with client.post(url, data=body, headers=sent, allow_redirects=False) as answer:
            status, after = answer.status, answer.headers.get("retry-after")
            answer.close()
    except TimeoutError:
        return Outcome(reason=("TIMED_OUT", "the receiver did not answer in time"))
    except aiohttp.ClientSSLError as error:
        return Outcome(reason=("TLS_FAILED", f"the receiver: {encryption_trouble(error)}"))
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, ConnectionNotAllowed):
            return Outcome(reason=("ADDRESS_REFUSED", f"{error.os_error.strerror}. {ALLOWED_BY}"))
        return Outcome(reason=("UNREACHABLE", f"the receiver cannot be reached: {error.strerror or error.os_error}"))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome(reason=("NO_ANSWER", f"the receiver gave no answer that can be read ({type(error).__name__})"))
    return _judged(status, after, at)


def _judged(status: int, after: str | None, at: datetime) -> Outcome:
    if 200 <= status < 300:
        return Outcome(status=status)
    rest = _seconds_until(after, at) if status in _REST else None
    if status == _GONE:
        return Outcome(status=status, reason=("GONE", "the receiver answered 410: gone"), hopeless=True, gone=True)
    if 300 <= status < 400:
        reason = ("REDIRECTED", f"the receiver answered {status}: redirects are not followed, register the other URL")
        return Outcome(status=status, reason=reason)
    return Outcome(status=status, reason=("REFUSED", f"the receiver answered {status}"), rest_seconds=rest)


def _seconds_until(after: str | None, at: datetime) -> int | None:
    """A Retry-After header, of seconds or a date; None for what is neither, or is over."""
    if after is None:
        return None
    if after.isascii() and after.isdigit():
        return int(after[:9]) or None
    try:
        moment = parsedate_to_datetime(after)
    except (ValueError, OverflowError):  # the latter of a year, or a zone, beyond all calendars
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0, int((moment - at).total_seconds())) or None
