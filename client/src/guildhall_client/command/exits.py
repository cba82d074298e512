"""How the command ends: one table of exit codes, and which error leads to which."""

from enum import IntEnum

from guildhall_client.errors import (
    SIGN_IN_CODES,
    DownloadFailed,
    GuildhallClientError,
    MutationRefused,
    Problem,
    Refused,
    Unreachable,
    UploadFailed,
)


class Exit(IntEnum):
    """The exit codes; `MEANINGS` is their documentation."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    UNREACHABLE = 5
    JOB_FAILED = 6
    WOULD_CHANGE = 7
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "refused by the server, or failed here (a full disk, a file that cannot be read); nothing half done",
    Exit.USAGE: "asked wrongly: an unknown command or option, a missing or malformed argument",
    Exit.NOT_FOUND: "there is no such thing, or none that you may see",
    Exit.NOT_ALLOWED: "not signed in, a token that has ended, or not allowed; the sentence says how to ask",
    Exit.UNREACHABLE: "the server does not answer, or a part of it is away; trying again later can help",
    Exit.JOB_FAILED: "the job ended without success: it failed, was cancelled, timed out or expired",
    Exit.WOULD_CHANGE: "`apply --plan` showed something to make, change or remove; nothing was done",
    Exit.INTERRUPTED: "interrupted (Ctrl-C), or you said no to a question",
    Exit.PIPE_CLOSED: "whoever read the output closed the pipe, as `head` does; said without a word",
}

_NOT_FOUND_CODES = frozenset({
    "NOT_FOUND", "UNKNOWN_ACCELERATOR", "UNKNOWN_CLUSTER", "UNKNOWN_POOL", "UNKNOWN_PURPOSE", "UNKNOWN_ROLE",
    "UNKNOWN_TEAM", "UPLOAD_NOT_FOUND",
})  # fmt: skip
_NOT_ALLOWED_CODES = SIGN_IN_CODES | {
    "ACCESS_REFUSED", "DOCUMENT_NOT_TRUSTED", "FORBIDDEN", "PERMISSION_REFUSED", "REQUESTER_CANNOT_DECIDE",
    "SECOND_PERSON_REQUIRED", "STEWARD_REQUIRED", "UPLOAD_TICKET_REFUSED",
}  # fmt: skip
_AWAY_CODES = frozenset({
    "ARTIFACT_STORE_UNAVAILABLE", "BUCKET_MISSING", "BYTES_LOST", "DATABASE_BUSY", "DATABASE_UNAVAILABLE",
    "INTERRUPTED", "OVERLOADED", "STATEMENT_TIMEOUT", "UNAVAILABLE", "UNREACHABLE",
})  # fmt: skip
WHEN_UNREACHABLE = "Check the network and the address that you signed in at, then give the same command again."
_Coded = Refused | UploadFailed | DownloadFailed


class CommandFailed(Exception):
    """One sentence for a person, and how to end."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotSignedIn(CommandFailed):
    """No token for this server, or one that does not count any more."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} Sign in with `guildhall login`.", Exit.NOT_ALLOWED)


class NoSuchThing(CommandFailed):
    """Nothing of that name that the caller may see."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.NOT_FOUND)


def told(error: GuildhallClientError) -> tuple[str, Exit]:
    """The sentence and the exit code of what the library raised."""
    codes = codes_of(error)
    if isinstance(error, MutationRefused):
        message = " ".join(_problem(problem) for problem in error.problems)
    elif isinstance(error, _Coded):
        message = _sentence(error.message)
    else:
        message = _sentence(str(error))
    return " ".join([message, *_next_steps(error, codes)]), _exit_of(error, codes)


def codes_of(error: GuildhallClientError) -> set[str]:
    """The server's codes for programs."""
    if isinstance(error, MutationRefused):
        return set(error.codes)
    return {error.code} if isinstance(error, _Coded) else set()


def _exit_of(error: GuildhallClientError, codes: set[str]) -> Exit:
    if isinstance(error, Unreachable) or codes & _AWAY_CODES:
        return Exit.UNREACHABLE
    if codes & _NOT_ALLOWED_CODES:
        return Exit.NOT_ALLOWED
    if codes and codes <= _NOT_FOUND_CODES:
        return Exit.NOT_FOUND
    return Exit.FAILED


def _next_steps(error: GuildhallClientError, codes: set[str]) -> list[str]:
    """What the command knows better than the server, else the server's hints, each once."""
    if codes & SIGN_IN_CODES:
        return ["Sign in again with `guildhall login`."]
    if "CARD_SECTION_MISSING" in codes:
        return ["The version is there; write them with --card and --data-needs, and publish it again without --folder."]
    if isinstance(error, MutationRefused):
        return list(dict.fromkeys(problem.hint for problem in error.problems if problem.hint is not None))
    hint = error.hint if isinstance(error, _Coded) else None
    if hint is None and (isinstance(error, Unreachable) or "UNREACHABLE" in codes):
        return [WHEN_UNREACHABLE]
    return [] if hint is None else [hint]


def _problem(problem: Problem) -> str:
    """Where a name in the input says more than the sentence, it stands behind it."""
    if problem.field is None or problem.code == "CARD_SECTION_MISSING":
        return _sentence(problem.message)
    return f"{problem.message.removesuffix('.')} ({problem.field})."


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
