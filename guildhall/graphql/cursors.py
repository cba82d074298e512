"""Cursors: where a page ended, signed, and bound to the list, its filter and order, and the viewer.

A cursor is base64url of a 16-byte HMAC-SHA-256 and the JSON array of the last row's order values. What it is bound to
is in the MAC only, so a cursor taken elsewhere is refused without telling anything.

Statements make the same cursors in the database (`compiler.cursor_texts`), which is given keys for that: derived for
one list of one caller, so that whoever reads them in a log can begin that list elsewhere, and nothing more.
"""

import base64
import binascii
import hmac
import json
import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec

from guildhall.errors import Invalid

CURSOR_CHARACTERS_MAX = 2_000
MAC_BYTES = 16
_BLOCK = 64
"""Of SHA-256, in bytes."""
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class InvalidCursor(Invalid):
    """A cursor that this list, filter, order and viewer never gave."""

    code = "INVALID_CURSOR"

    def __init__(self) -> None:
        super().__init__(
            "This cursor does not belong to this list with this filter, order and caller; start at its beginning."
        )


class CursorSigner:
    """Signs and opens cursors under one secret key, the same in every replica.

    `binding` names the list and its caller; `parent` is the key of the object whose list it is, where it has one.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"guildhall cursor", "sha256")

    def keys(self, binding: bytes) -> tuple[bytes, bytes]:
        """The inner and the outer key of RFC 2104 for the cursors of this binding, and of no other."""
        derived = hmac.digest(self._key, binding, "sha256").ljust(_BLOCK, b"\0")
        return derived.translate(_INNER), derived.translate(_OUTER)

    def sign(self, binding: bytes, values: Sequence[Any], parent: object = None) -> str:
        """The cursor after a row with these order values."""
        body = msgspec.json.encode([_plain(value) for value in values])
        return base64.urlsafe_b64encode(self._mac(binding, parent, body) + body).rstrip(b"=").decode()

    def open(self, binding: bytes, cursor: str, parent: object = None) -> list[Any]:
        """The order values; raises InvalidCursor for anything that `sign` did not make for the same list."""
        mac, body = _parts(cursor)
        if not hmac.compare_digest(mac, self._mac(binding, parent, body)):
            raise InvalidCursor
        return [_value(item) for item in json.loads(body)]

    def read(self, cursor: str) -> list[Any]:
        """The order values as the cursor says them, for who will `open` it before anything made with them leaves."""
        _, body = _parts(cursor)
        try:
            return [_value(item) for item in json.loads(body)]
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError, struct.error) as error:
            # It may be anybody's.
            raise InvalidCursor from error

    def _mac(self, binding: bytes, parent: object, body: bytes) -> bytes:
        inner, outer = self.keys(binding)
        above = b"" if parent is None else str(parent).encode()
        message = b"%d:%b%b" % (len(above), above, body)  # the length, or a key could end where the body begins
        return sha256(outer + sha256(inner + message).digest()).digest()[:MAC_BYTES]


def _parts(cursor: str) -> tuple[bytes, bytes]:
    """The MAC and the body."""
    if len(cursor) > CURSOR_CHARACTERS_MAX:
        raise InvalidCursor
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InvalidCursor from error
    return raw[:MAC_BYTES], raw[MAC_BYTES:]


def _plain(value: object) -> object:
    """JSON's own types as they are, others as a pair of a letter and a text that PostgreSQL can write as well."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Enum):
        return ["s", str(value.value)]
    kind = type(value)
    known = _WRITERS.get(kind) or next((_WRITERS[each] for each in kind.__mro__ if each in _WRITERS), None)
    assert known is not None, f"a cursor cannot hold a {kind.__name__}"
    letter, write = known
    return [letter, write(value)]


_WRITERS: dict[type, tuple[str, Callable[[Any], str]]] = {
    datetime: ("t", partial(datetime.isoformat, timespec="microseconds")), date: ("d", date.isoformat),
    UUID: ("u", str), Decimal: ("n", "{:f}".format), float: ("f", lambda value: struct.pack(">d", value).hex()),
    str: ("s", str),
}  # fmt: skip
_READERS: dict[str, Callable[[str], Any]] = {
    "t": datetime.fromisoformat, "d": date.fromisoformat, "u": UUID, "n": Decimal,
    "f": lambda text: struct.unpack(">d", bytes.fromhex(text))[0], "s": str,
}  # fmt: skip


def _value(item: Any) -> Any:  # noqa: ANN401 -- what JSON holds
    if not isinstance(item, list):
        return item
    letter, text = item
    if not isinstance(text, str):
        raise TypeError("a letter stands before a text")
    return _READERS[letter](text)
