"""The authentication code of an audit row: HMAC-SHA-256 over all of its columns, under a key the database has not.

A row that was edited or made up by somebody who can write the table but has no key does not verify. That rows are
missing is not found here: that takes the seal.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

ENCODING = b"guildhall audit event 1\n"


@dataclass(frozen=True)
class AuditKey:
    """The secret, and the short name under which rows refer to it, so that it can be replaced one day."""

    secret: bytes

    @property
    def name(self) -> str:
        """The first hexadecimal digits of the secret's hash: tells keys apart, gives nothing away."""
        return hashlib.sha256(b"guildhall audit key " + self.secret).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"AuditKey({self.name})"


def compute_mac(key: AuditKey, row: Mapping[str, Any]) -> bytes:
    """The code of a row given by column; `mac` itself is left out, every other column is covered."""
    return hmac.new(key.secret, ENCODING + canonical(row), hashlib.sha256).digest()


def verify_row(key: AuditKey, row: Mapping[str, Any]) -> bool:
    """Whether the row, as read back from the database, is the one that was written under this key."""
    return row["mac_key"] == key.name and hmac.compare_digest(compute_mac(key, row), row["mac"])


def canonical(row: Mapping[str, Any]) -> bytes:
    """One way to write a row as bytes: JSON with sorted names, no spaces, ids in hexadecimal, moments in UTC."""
    content = {name: value for name, value in row.items() if name != "mac"}
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    ).encode()


def _plain(value: object) -> str:
    if isinstance(value, UUID):
        return value.hex
    assert isinstance(value, datetime), f"an audit row holds no {type(value).__name__}"
    return value.astimezone(UTC).isoformat(timespec="microseconds")
