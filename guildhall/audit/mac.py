"""The authentication code of an audit row: HMAC-SHA-256 over all of its columns, under a key the database has not.

A row that was edited or made up by somebody who can write the table but has no key does not verify. That rows are
missing is not found here: that takes the seal.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

ENCODING = b"guildhall audit event 2\n"
_GIVEN_BY_THE_DATABASE = frozenset({"xid"})


@dataclass(frozen=True)
class AuditKey:
    """The secret, and the short name under which rows refer to it, so that it can be replaced."""

    secret: bytes

    @cached_property
    def name(self) -> str:
        """The first hexadecimal digits of the secret's hash: tells keys apart, gives nothing away."""
        return hashlib.sha256(b"guildhall audit key " + self.secret).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"AuditKey({self.name})"


class AuditKeys:
    """Every key that rows may be under, by name: the present one and those before it."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keys = {key.name: key for key in map(AuditKey, secrets)}

    def knows(self, row: Mapping[str, Any]) -> bool:
        """Whether the row's key is here."""
        return row["mac_key"] in self._keys

    def verify(self, row: Mapping[str, Any]) -> bool:
        """Whether the row is the one that was written; one under an unknown key is not."""
        return self.knows(row) and verify_row(self._keys[row["mac_key"]], row)


def compute_mac(key: AuditKey, row: Mapping[str, Any]) -> bytes:
    """The code of a row given by column: all are covered but `mac` itself and what the database adds."""
    return code_of(key, canonical({name: value for name, value in row.items() if name != "mac"}))


def code_of(key: AuditKey, content: bytes) -> bytes:
    """The code of a row whose columns were written as `canonical` does, `mac` left out."""
    return hmac.digest(key.secret, ENCODING + content, "sha256")


def verify_row(key: AuditKey, row: Mapping[str, Any]) -> bool:
    """Whether the row, as read back from the database, is the one that was written under this key."""
    return row["mac_key"] == key.name and hmac.compare_digest(compute_mac(key, row), row["mac"])


def line_of(row: Mapping[str, Any]) -> bytes:
    """The event as one line of JSON, its code included: what the seal covers, and what an export holds."""
    return canonical(row)


def entry_of(row: Mapping[str, Any]) -> bytes:
    """The event's entry in the tree: the SHA-256 of its line. Nothing can be guessed from it: the line has a code."""
    return hashlib.sha256(line_of(row)).digest()


def canonical(row: Mapping[str, Any]) -> bytes:
    """One way to write a row as bytes: JSON, names sorted, no spaces, ids and bytes in hexadecimal, moments in UTC."""
    content = {name: value for name, value in row.items() if name not in _GIVEN_BY_THE_DATABASE}
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    ).encode()


def _plain(value: object) -> str:
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, bytes):
        return value.hex()
    assert isinstance(value, datetime), f"an audit row holds no {type(value).__name__}"
    if value.tzinfo is None:  # an infinity, as the driver gives it: somebody's own row, which is to be told of
        return value.isoformat(timespec="microseconds")
    return value.astimezone(UTC).isoformat(timespec="microseconds")
