"""Signatures of webhooks after the Standard Webhooks specification 1.0, so that any of its libraries verifies them."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

SECRET_PREFIX = "whsec_"  # noqa: S105 -- says which kind of secret follows
SECRET_BYTES = 32


def make_secret(random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A fresh secret, as receivers' libraries take it."""
    return SECRET_PREFIX + base64.b64encode(random(SECRET_BYTES)).decode()


def signed_headers(body: bytes, *, message_id: str, at: datetime, secrets_valid: Sequence[str]) -> Mapping[str, str]:
    """The three headers of one attempt: whoever knows one of the secrets that are valid now can verify it.

    `message_id` is the same in each attempt; `at` is the attempt's, so that an old one cannot be sent again by others.
    """
    assert "." not in message_id, "the parts of what is signed are told apart by their full stops"
    timestamp = str(int(at.timestamp()))
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = [f"v1,{_signature(secret, content)}" for secret in secrets_valid]
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": " ".join(signatures)}


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
