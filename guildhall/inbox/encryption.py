"""Why an encrypted connection did not come about, in words for who looks after the receiver or the mail server."""

import ssl

CAUSES_MAX = 8
"""Errors that one error may stand for, one behind the other."""


def encryption_trouble(error: BaseException) -> str | None:
    """A sentence where the error, or what it was raised from, is about TLS; None for all others."""
    found, cause = None, error
    for _ in range(CAUSES_MAX):
        if isinstance(cause, ssl.SSLError):  # the last says it; libraries' own that wrap it are of its class as well
            found = cause
        if cause.__cause__ is None:
            break
        cause = cause.__cause__
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {found.verify_message}"
    if found is not None:
        return f"no encryption could be agreed on: {(found.reason or 'it hung up').replace('_', ' ').lower()}"
    return None
