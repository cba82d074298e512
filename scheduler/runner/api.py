"""The runner's way to the API: JSON and bytes over HTTP, retried with backoff for as long as the hold lasts."""

from __future__ import annotations

import http.client
import json
import random
import tarfile
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Callable, cast
from urllib.parse import urljoin, urlsplit

from .failures import HoldEnded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

TIMEOUT_SECONDS = 30.0
REPORT_TIMEOUT_SECONDS = 10.0
HASTY_TIMEOUT_SECONDS = 4.0
"""With one report on its way still, and then the last one and the result, this fits into a pod's grace."""
BACKOFF_SECONDS_FIRST = 0.2
BACKOFF_SECONDS_MAX = 10.0
ERROR_BODY_BYTES_MAX = 65_536
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class Refused(Exception):
    """The API answered, and the answer is no: retrying the same request cannot help."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class _Unavailable(Exception):
    """The API did not answer, or asked to be asked again later."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Api:
    """One base address and one token. ``hold_ends_at`` is a Unix time in seconds; no retry starts after it."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        hold_ends_at: float,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/") + "/"
        self.hold_ends_at = hold_ends_at
        self._token = token
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._timeout_seconds = TIMEOUT_SECONDS
        self._host = urlsplit(self.base_url).netloc

    def hasten(self) -> None:
        """The platform waits for our end: from now on no single answer is waited for as long as usual."""
        self._timeout_seconds = HASTY_TIMEOUT_SECONDS

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 parsed JSON
        """Send JSON, return parsed JSON. Raises ``Refused`` on a final no and ``HoldEnded`` when time is up."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        answer = self.retrying(lambda: self._once(method, path, data, headers))
        return json.loads(answer) if answer else None

    def call_once(self, method: str, path: str, body: object) -> Any:  # noqa: ANN401 parsed JSON
        """As ``call``, but a missing API raises ``HoldEnded`` at once, for callers with a queue of their own."""
        try:
            data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
            answer = self._once(method, path, data, headers, seconds_max=REPORT_TIMEOUT_SECONDS)
        except _Unavailable as error:
            raise HoldEnded(str(error)) from error
        return json.loads(answer) if answer else None

    def put(self, url: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Send one part; a part that was cut off is sent again whole."""
        self.retrying(lambda: self._once("PUT", url, data, headers))

    def download(self, url: str, target: Callable[[int], AbstractContextManager[Callable[[bytes], object]]]) -> None:
        """Stream the bytes at ``url`` into ``target``; a broken stream goes on from the byte it broke at.

        ``target(offset)`` opens the sink for the bytes from ``offset`` on and answers with its write function.
        """
        received = 0

        def attempt() -> bytes:
            nonlocal received
            with target(received) as write:
                for chunk in self._stream(url, received):
                    write(chunk)
                    received += len(chunk)
            return b""

        self.retrying(attempt)

    def fetch(self, url: str, body: Callable[[], object | None], take: Callable[[IO[bytes]], None]) -> None:
        """Send JSON and have ``take`` read the answer; where that breaks off, ``body`` says what to ask for next.

        ``None`` from ``body``: nothing is left to ask for.
        """

        def attempt() -> bytes:
            asked = body()
            if asked is None:
                return b""
            headers = {"Content-Type": "application/json"}
            data = json.dumps(asked).encode()
            connection, response = self._open("POST", url, data, headers, seconds_max=TIMEOUT_SECONDS)
            answer = _Body(response)
            try:
                take(cast("IO[bytes]", answer))
                # A tar that was cut between two files, or within a header, reads as if it ended there.
                answer.require_whole()
            except tarfile.ReadError as error:
                raise _Unavailable(f"the answer broke off: {error}") from error
            finally:
                connection.close()
            return b""

        self.retrying(attempt)

    def retrying(self, attempt: Callable[[], bytes]) -> bytes:
        """Call ``attempt`` until it answers or the hold has ended."""
        backoff_seconds = BACKOFF_SECONDS_FIRST
        while True:
            try:
                return attempt()
            except _Unavailable as error:
                wait_seconds = error.retry_after_seconds or backoff_seconds * random.uniform(0.5, 1.0)  # noqa: S311 jitter is no secret
                if self._wall_clock() + wait_seconds > self.hold_ends_at:
                    message = f"the API at {self.base_url} could not be reached until the hold ended ({error})"
                    raise HoldEnded(message) from error
                self._sleep(wait_seconds)
                backoff_seconds = min(backoff_seconds * 2, BACKOFF_SECONDS_MAX)

    def _once(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: Mapping[str, str],
        *,
        seconds_max: float = TIMEOUT_SECONDS,
    ) -> bytes:
        with self._answered(method, url, data, headers, seconds_max=seconds_max) as response:
            return response.read()

    def _stream(self, url: str, offset: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._answered("GET", url, None, headers) as response:
            if offset and response.status != http.client.PARTIAL_CONTENT:
                raise Refused(response.status, "RANGE_REFUSED", "the API did not go on from where the stream broke")
            while True:
                chunk = response.read(1 << 20)
                if not chunk:
                    break
                yield chunk
            if response.length:
                raise _Unavailable(f"{response.length} bytes are missing at the end of the answer")

    @contextmanager
    def _answered(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: Mapping[str, str],
        *,
        seconds_max: float = TIMEOUT_SECONDS,
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer that is no refusal, to be read; reading it raises ``_Unavailable`` where it breaks off."""
        connection, response = self._open(method, url, data, headers, seconds_max)
        try:
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise _Unavailable(f"the answer broke off: {error!r}") from error
        finally:
            connection.close()

    def _open(
        self, method: str, url: str, data: bytes | None, headers: Mapping[str, str], seconds_max: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        parts = urlsplit(urljoin(self.base_url, url))
        secure = parts.scheme == "https"
        connection_type = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connection_type(parts.netloc, timeout=min(seconds_max, self._timeout_seconds))
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        sent = {"User-Agent": "guildhall-runner", **headers}
        # Uploads may go to an object store; the token is for the API alone.
        if parts.netloc == self._host:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(method, target, body=data, headers=sent)
            response = connection.getresponse()
            if response.status < http.client.MULTIPLE_CHOICES:
                return connection, response
            body = response.read(ERROR_BODY_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _Unavailable(repr(error)) from error
        connection.close()
        raise _failure(response, body)


class _Body:
    """An answer to read from; what goes wrong with the connection is told apart from what goes wrong with a disk."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def read(self, size: int) -> bytes:
        try:
            return self._response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise _Unavailable(f"the answer broke off: {error!r}") from error

    def require_whole(self) -> None:
        """Read on to the end; it has to be where it was announced."""
        while self.read(1 << 20):
            pass
        if self._response.length:
            raise _Unavailable(f"{self._response.length} bytes are missing at the end of the answer")


def _failure(response: http.client.HTTPResponse, body: bytes) -> Exception:
    if response.status in RETRIED_STATUSES:
        retry_after = response.headers.get("Retry-After", "")
        seconds = float(retry_after) if retry_after.isdigit() else None
        return _Unavailable(f"the API answered {response.status}", seconds)
    try:
        error = json.loads(body)["error"]
        return Refused(response.status, str(error["code"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return Refused(response.status, "REFUSED", f"the API answered {response.status} {response.reason}")
