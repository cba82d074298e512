"""What an operation asks its driver to do: the operations know no sockets, the drivers know no Guildhall.

An operation is a generator that yields steps and is sent their results; `sync` and `async` differ only in their driver.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guildhall_client.errors import DownloadFailed, UploadFailed

TRIES_MAX = 6
BACKOFF_SECONDS_FIRST = 0.2
BACKOFF_SECONDS_MAX = 5.0
RETRIED_STATUSES = frozenset({408, 425, 429, 502, 503, 504})


READ_BYTES = 1 << 20
"""How much of a file is in memory on its way."""


@dataclass(frozen=True)
class FilePart:
    """Bytes of a local file, read while they are sent."""

    source: Path
    offset: int
    size_bytes: int

    def blocks(self) -> Iterator[bytes]:
        """From the beginning, each time. Raises `UploadFailed` where the file has become shorter, and `OSError`."""
        left = self.size_bytes
        with self.source.open("rb", buffering=0) as opened:
            opened.seek(self.offset)
            while left:
                block = opened.read(min(left, READ_BYTES))
                if not block:
                    raise UploadFailed(f"{self.source.name} has changed while it was uploaded; upload it again")
                left -= len(block)
                yield block


@dataclass(frozen=True)
class Send:
    """Send a request; the result is an `Answer`. Every request here may be sent twice without harm."""

    method: str
    url: str
    content: bytes | FilePart | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Save:
    """Stream a download into `sink`, which is called with each chunk; the result is an `Answer` without a body.

    `offset` asks for the bytes from there on; `content` is sent with it.
    """

    url: str
    sink: Callable[[bytes], None]
    offset: int = 0
    method: str = "GET"
    content: bytes | None = None


@dataclass(frozen=True)
class Compute:
    """Call a function that reads the disk for a while, beside the event loop where there is one."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Wait:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True)
class Answer:
    """Status and body; `unreachable` says why there is neither."""

    status: int
    body: bytes = b""
    unreachable: str | None = None

    @property
    def is_passing(self) -> bool:
        """Whether asking again may bring another one."""
        return self.unreachable is not None or self.status in RETRIED_STATUSES


Step = Send | Save | Compute | Wait


def backoff_seconds(tries: int) -> float:
    """How long to wait after the given number of failed tries."""
    return float(min(BACKOFF_SECONDS_FIRST * 2 ** (tries - 1), BACKOFF_SECONDS_MAX))


def send_patiently(step: Send) -> Generator[Step, Any, Answer]:
    """Send, and send again while the server is away or asks to wait, at most `TRIES_MAX` times."""
    answer: Answer = yield step
    for tries in range(1, TRIES_MAX):
        if not answer.is_passing:
            break
        yield Wait(backoff_seconds(tries))
        answer = yield step
    return answer


def save_patiently(asked: Callable[[], Save | None], brought: Callable[[], int]) -> Generator[Step, Any, Answer | None]:
    """Ask for what is missing, and again while the server is away; None once nothing is.

    `brought` counts what has come: only tries in a row that bring nothing are counted.
    """
    tries = 0
    while (step := asked()) is not None:
        before = brought()
        answer: Answer = yield step
        if not answer.is_passing:
            return answer
        tries = 1 if brought() > before else tries + 1
        if tries >= TRIES_MAX:
            return answer
        yield Wait(backoff_seconds(tries))
    return None


def require_sent(answer: Answer, what: str = "") -> None:
    """Raises `UploadFailed` where the bytes were not taken; `what` names them before the sentence."""
    if answer.unreachable is not None:
        raise UploadFailed(f"{what}the server does not answer: {answer.unreachable}", "UNREACHABLE")
    if answer.status >= 300:
        code, message, hint = _error_of(answer)
        raise UploadFailed(f"{what}{message}", code, hint)


def not_downloaded(answer: Answer) -> DownloadFailed:
    """Why nothing came, or no more."""
    if answer.unreachable is not None:
        return DownloadFailed("UNREACHABLE", f"the server does not answer: {answer.unreachable}")
    return DownloadFailed(*_error_of(answer))


def _error_of(answer: Answer) -> tuple[str, str, str | None]:
    """Code, sentence and hint of an answer that is a refusal of the routes for files."""
    try:
        error = json.loads(answer.body)["error"]
        return str(error["code"]), str(error["message"]), error.get("hint")
    except (ValueError, KeyError, TypeError):
        return "REFUSED", f"the server answered {answer.status}", None


@dataclass(frozen=True)
class LocalFile:
    """A file to upload, by its path in the registry."""

    path: str
    source: Path
    size_bytes: int
    sha256: str

    def as_input(self) -> dict[str, Any]:
        """The shape that mutations take."""
        return {"path": self.path, "sizeBytes": str(self.size_bytes), "sha256": self.sha256}
