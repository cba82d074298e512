"""Where the stream goes: a file of JSON lines that somebody ships on, or an address that takes batches over HTTP.

A sink returns once what it was given is safe with the receiver, and raises SinkUnavailable otherwise; the cursor moves
only then.
"""

import asyncio
import contextlib
import fcntl
import gzip
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from io import FileIO
from itertools import count
from pathlib import Path
from typing import Protocol

import httpx

from guildhall.audit.stream_cursor import Batch
from guildhall.clock import Clock
from guildhall.errors import Unavailable
from guildhall.webhook_headers import webhook_headers

SEND_SECONDS_MAX = 20
"""Much less than a lease, so that no request outlives the right to make it."""


class SinkUnavailable(Unavailable):
    """The receiver could not be reached, or did not take what it was sent; it is sent again."""

    code = "SINK_UNAVAILABLE"


class BatchTooLarge(SinkUnavailable):
    """The receiver takes less at once; it is sent in smaller pieces."""

    code = "BATCH_TOO_LARGE"


class Authentication(StrEnum):
    """How the receiver knows that it is we: a token in each request, or a signature over its body."""

    BEARER = "bearer"
    HMAC = "hmac"


class Body(StrEnum):
    """What a request holds: an event a line, or one JSON array."""

    NDJSON = "ndjson"
    ARRAY = "array"


class Sink(Protocol):
    """What takes batches."""

    async def send(self, batch: Batch) -> None:
        """Return once the batch is safe. Raises SinkUnavailable."""

    async def close(self) -> None:
        """Let go of what is held open."""


class FileSink:
    """A file that grows by whole lines and is moved aside when it is large; nobody else writes to it meanwhile.

    It is open and locked for one batch only: who loses the lease without knowing would keep the next holder out of it.
    It is never made shorter than what was confirmed, so that a program may follow it. A file that was moved aside keeps
    its name with the first leaf that is not in it.
    """

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max

    async def send(self, batch: Batch) -> None:
        """Add the lines, and see them on the disk."""
        try:
            await asyncio.to_thread(self._append, batch)
        except OSError as error:
            raise SinkUnavailable(f"{self._path} cannot be written to: {error.strerror or error}.") from error

    async def close(self) -> None:
        """Nothing is held open between two batches."""

    def _append(self, batch: Batch) -> None:
        content = b"".join(line + b"\n" for line in batch.lines)
        with self._locked() as file:
            end = file.seek(0, os.SEEK_END)
            if end < self._bytes_max:
                _add(file, content, end)
                return
            self._path.rename(self._aside(batch.first))
            with self._locked() as fresh:  # within the old one's lock: nobody else begins it
                _add(fresh, content, fresh.seek(0, os.SEEK_END))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[FileIO]:
        """The file of that name, whole to its last line, and nobody else's meanwhile."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(opened, "ab+", buffering=0) as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(None, "another process writes to it") from None
            if not _is_named(file, self._path):
                raise BlockingIOError(None, "another process has just moved it aside")
            _sync_folder(self._path.parent)
            _end_last_line(file)
            yield file

    def _aside(self, leaf: int) -> Path:
        name = f"{self._path.name}.{leaf:020d}"
        names = (name if again == 0 else f"{name}.{again}" for again in count())
        return next(path for path in map(self._path.with_name, names) if not path.exists())


class HttpSink:
    """An address that takes batches as gzip by POST and answers 2xx once they are safe with it."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        body: Body,
        secret_file: Path | None,
        authentication: Authentication,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._body = body
        self._secret_file = secret_file
        self._authentication = authentication
        self._client = httpx.AsyncClient(timeout=SEND_SECONDS_MAX, transport=transport)

    async def send(self, batch: Batch) -> None:
        """Post the batch once. Raises BatchTooLarge for 413, SinkUnavailable for all that is not 2xx."""
        try:
            secret = self._secret()
            content = gzip.compress(_packed(self._body, batch), mtime=0)
            headers = self._headers(batch, content, secret)
            async with asyncio.timeout(SEND_SECONDS_MAX):
                answer = await self._client.post(self._url, content=content, headers=headers)
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
            # What it says of a header that cannot be sent holds that header, and with it the secret.
            says = "" if isinstance(error, httpx.LocalProtocolError) else error
            told = f"{type(error).__name__} {says}".strip()
            raise SinkUnavailable(f"The receiver of the audit stream cannot be reached: {told}.") from error
        if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            raise BatchTooLarge(f"The receiver of the audit stream does not take {len(batch.lines)} events at once.")
        if not answer.is_success:
            raise SinkUnavailable(f"The receiver of the audit stream answered {answer.status_code}.")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _secret(self) -> str | None:
        """What the file holds now, so that a new secret needs no restart; what is wrong with it is told without it."""
        if self._secret_file is None:
            return None
        try:
            secret = self._secret_file.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            secret = ""
        bearer = self._authentication is Authentication.BEARER  # a header takes no more than ASCII
        if not secret or not secret.isprintable() or (bearer and not secret.isascii()):
            kind = "ASCII" if bearer else "UTF-8"
            raise SinkUnavailable(f"The secret in {self._secret_file} is not one line of printable {kind} characters.")
        return secret

    def _headers(self, batch: Batch, content: bytes, secret: str | None) -> Mapping[str, str]:
        kind = "application/x-ndjson" if self._body is Body.NDJSON else "application/json"
        about = {"content-type": kind, "content-encoding": "gzip", "webhook-id": batch.id}
        if secret is None:
            return about
        if self._authentication is Authentication.BEARER:
            return about | {"authorization": secret if " " in secret else f"Bearer {secret}"}
        keys = [secret.encode()]
        return {**about, **webhook_headers(content, message_id=batch.id, at=self._clock.now(), keys=keys)}


def _packed(body: Body, batch: Batch) -> bytes:
    if body is Body.ARRAY:
        return b"[" + b",".join(batch.lines) + b"]"
    return b"".join(line + b"\n" for line in batch.lines)


def _add(file: FileIO, content: bytes, end: int) -> None:
    """All of it from `end` on, safe on the disk, or nothing."""
    try:
        _write_all(file, content)
        os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):  # half a line would stay for ever otherwise
            os.ftruncate(file.fileno(), end)
        raise


def _write_all(file: FileIO, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _is_named(file: FileIO, path: Path) -> bool:
    """Whether the path still leads to this file: somebody may have moved it aside."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _end_last_line(file: FileIO) -> None:
    """What a crash left of a line becomes a line of its own: its event comes again whole."""
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            _write_all(file, b"\n")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
