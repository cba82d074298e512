"""Secrets of webhooks, as the libraries of the Standard Webhooks specification 1.0 take them, and what they sign."""

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from guildhall.webhook_headers import webhook_headers

SECRET_PREFIX = "whsec_"  # noqa: S105 -- says which kind of secret follows
SECRET_BYTES = 32


def make_secret(random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A fresh secret, as receivers' libraries take it."""
    return SECRET_PREFIX + base64.b64encode(random(SECRET_BYTES)).decode()


def signed_headers(body: bytes, *, message_id: str, at: datetime, secrets_valid: Sequence[str]) -> Mapping[str, str]:
    """The headers of one attempt, signed with each of the secrets that are valid now."""
    keys = [base64.b64decode(secret.removeprefix(SECRET_PREFIX)) for secret in secrets_valid]
    return webhook_headers(body, message_id=message_id, at=at, keys=keys)
