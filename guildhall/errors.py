"""Every refusal that a caller can meet descends from one class, with a stable code and a sentence for people.

    GuildhallError
    ├── Invalid            INVALID_INPUT      the caller can mend the input; answered in `errors { code field message }`
    │   └── InvalidInput  several `Problem`s of one input at once
    ├── NotFound           NOT_FOUND          does not exist, or is outside what the caller may see (never told apart)
    ├── Conflict           CONFLICT           the state has moved on, or a name or key is taken
    ├── Forbidden          FORBIDDEN          visible, but not permitted; says which permission or grant is missing
    ├── Unauthenticated    UNAUTHENTICATED    no caller, or a token that does not count
    ├── LimitExceeded      LIMIT_EXCEEDED     over a named maximum
    ├── RateLimited        RATE_LIMITED       too often within a time; says when to come again
    └── Unavailable        UNAVAILABLE        a part we depend on is away; trying again later can help

A concrete refusal is a subclass beside its cause, in the package that refuses, with a `code` of its own::

    class InsufficientCredits(Invalid):
        code = "INSUFFICIENT_CREDITS"

A programmer's mistake is an `assert`, not one of these. Anything that is none of these is masked and logged with an id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

MESSAGE_CHARACTERS_MAX = 1_000
"""A sentence for people is no longer; what a caller sent may be, where a message names it."""


class GuildhallError(Exception):
    """A refusal: `code` is stable for programs, `message` one sentence for people, `field` the input it is about.

    `details` holds what a program may want to read (numbers as strings, ids as strings); it reaches the caller.
    """

    code: ClassVar[str] = "ERROR"

    def __init__(self, message: str, *, field: str | None = None, details: dict[str, object] | None = None) -> None:
        self.message = shortened(message)
        super().__init__(self.message)
        self.field = field
        self.details: dict[str, object] = details or {}


class Invalid(GuildhallError):
    """The input is wrong in a way that the caller can mend."""

    code = "INVALID_INPUT"


class NotFound(GuildhallError):
    """Nothing there that the caller may see; comes before `Forbidden`, and never says which of the two it is."""

    code = "NOT_FOUND"


class Conflict(GuildhallError):
    """What was asked for does not fit what is stored now."""

    code = "CONFLICT"


class Forbidden(GuildhallError):
    """The caller may see the resource but not do this with it; the message says how to ask."""

    code = "FORBIDDEN"


class Unauthenticated(GuildhallError):
    """Nobody known is calling."""

    code = "UNAUTHENTICATED"


class LimitExceeded(GuildhallError):
    """A named maximum was passed; the message names it and its value."""

    code = "LIMIT_EXCEEDED"


class RateLimited(GuildhallError):
    """Too often within a time; `retry_after_seconds` says when it may be tried again."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message, details={"retryAfterSeconds": str(retry_after_seconds)})
        self.retry_after_seconds = retry_after_seconds


class Unavailable(GuildhallError):
    """A part that the answer needs is away for now."""

    code = "UNAVAILABLE"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input: `field` is the camelCase path of the input, as `job.perNode.memoryBytes`."""

    code: str
    message: str
    field: str | None = None

    def __post_init__(self) -> None:
        """Keep the sentence to its length."""
        object.__setattr__(self, "message", shortened(self.message))


class InvalidInput(Invalid):
    """Several things wrong with one input, told together so that a caller mends them in one go."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "a refusal names at least one problem"
        super().__init__(" ".join(problem.message for problem in problems), field=problems[0].field)
        self.problems = tuple(problems)


def shortened(text: str) -> str:
    """The text, its middle left out where it is longer than MESSAGE_CHARACTERS_MAX."""
    if len(text) <= MESSAGE_CHARACTERS_MAX:
        return text
    half = MESSAGE_CHARACTERS_MAX // 2 - 1
    return f"{text[:half]}…{text[-half:]}"
