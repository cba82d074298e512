"""What can go wrong, as a caller sees it; `hint`, where the server gives one, says what to do next.

GuildhallClientError
├── Unreachable        no answer, or none that was Guildhall's, after the retries
├── Refused            the request as a whole was refused; `code` is the server's `extensions.code`
├── MutationRefused    the caller can mend it; `problems` says what and where
├── UploadFailed       bytes did not arrive as announced
└── DownloadFailed     bytes did not arrive as registered, or may not be read
"""

from dataclasses import dataclass

SIGN_IN_CODES = frozenset({"UNAUTHENTICATED", "TOKEN_REFUSED"})
"""No token came, or one that does not count (any more)."""


class GuildhallClientError(Exception):
    """Every error of this package; its text is a sentence for a person."""


class Unreachable(GuildhallClientError):
    """The server did not answer within the retries."""


class Refused(GuildhallClientError):
    """A GraphQL error: not signed in, not allowed, malformed, over a limit."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Problem:
    """One thing to mend; `field` is the path in the input, where there is one, `hint` what to do next."""

    code: str
    field: str | None
    message: str
    hint: str | None = None


class MutationRefused(GuildhallClientError):
    """A mutation changed nothing because of its input or the state of things."""

    def __init__(self, operation: str, problems: list[Problem]) -> None:
        super().__init__(f"{operation}: " + "; ".join(_sentence(problem) for problem in problems))
        self.operation = operation
        self.problems = problems

    @property
    def codes(self) -> list[str]:
        """The codes of all problems, in order."""
        return [problem.code for problem in self.problems]


class UploadFailed(GuildhallClientError):
    """The server misses files, or has other bytes than announced; `code` is its own where it refused them."""

    def __init__(self, message: str, code: str = "UPLOAD_FAILED", hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class DownloadFailed(GuildhallClientError):
    """The download was refused, or its digest is not the registered one."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.hint = hint


def _sentence(problem: Problem) -> str:
    where = f" at {problem.field}" if problem.field else ""
    return f"{problem.message} ({problem.code}{where})"
