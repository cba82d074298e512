"""The signed headers of the Standard Webhooks specification 1.0, so that any of its libraries verifies what we send."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime


def webhook_headers(body: bytes, *, message_id: str, at: datetime, keys: Sequence[bytes]) -> Mapping[str, str]:
    """The three headers of one attempt: whoever knows one of the keys can verify it.

    `message_id` is the same in each attempt; `at` is the attempt's, so that an old one cannot be sent again by others.
    """
    assert "." not in message_id, "the parts of what is signed are told apart by their full stops"
    timestamp = str(int(at.timestamp()))
    content = f"{message_id}.{timestamp}.".encode() + body
    signatures = [f"v1,{base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()}" for key in keys]
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": " ".join(signatures)}
