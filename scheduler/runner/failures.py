"""Why a run could not go on, as codes and sentences that reach the job page.

RunnerFailure
├── HoldEnded          the API stayed away until the money that holds the slot was spent
├── InputRefused       the API refused to hand out an input
├── DigestMismatch     bytes arrived that are not the bytes that were registered
├── PackageInvalid     the archive with the script is broken or reaches outside its folder
├── CommandNotStarted  the operating system could not start the command
└── OutputInvalid      the command ended well but what it left cannot be registered
"""

from __future__ import annotations


class RunnerFailure(Exception):
    """A failure with a stable ``code`` and a sentence for the person who reads the job page."""

    code = "RUNNER_FAILED"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class HoldEnded(RunnerFailure):
    """Retries ended because the hold did: waiting longer would use a slot that nobody pays for."""

    code = "API_UNREACHABLE"


class InputRefused(RunnerFailure):
    """Carries the API's own code and sentence, which say how to ask for access."""

    code = "INPUT_REFUSED"


class DigestMismatch(RunnerFailure):
    """The file is removed before this is raised, so that no script can read it."""

    code = "DIGEST_MISMATCH"


class PackageInvalid(RunnerFailure):
    """Raised before anything of the archive is written where it could do harm."""

    code = "PACKAGE_INVALID"


class CommandNotStarted(RunnerFailure):
    """``exec`` itself failed: the program does not exist or may not be executed."""

    code = "COMMAND_NOT_STARTED"


class OutputInvalid(RunnerFailure):
    """The output folder is missing, empty, or holds what cannot be registered."""

    code = "OUTPUT_MISSING"
