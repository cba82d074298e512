"""Global ids: opaque to clients, the type's name and the UUID to us, so that `node(id:)` needs no table of its own."""

import re
from uuid import UUID

from guildhall.errors import NotFound

_ID = re.compile(r"([A-Za-z][A-Za-z0-9]{0,60})_([0-9a-f]{32})")


class UnknownId(NotFound):
    """An id that names nothing the caller may see; malformed, absent and invisible are not told apart."""


def encode_id(type_name: str, key: UUID | str) -> str:
    """The global id of one row: short, made by SQL as easily as by Python, and safe in an address."""
    return f"{type_name}_{UUID(str(key)).hex}"


def split_id(text: str) -> tuple[str, UUID] | None:
    """Type name and key of a global id, or None for what is none."""
    match = _ID.fullmatch(text)
    return None if match is None else (match[1], UUID(match[2]))


def decode_id(text: str, *expected: str, field: str | None = None) -> UUID:
    """The key of an id of one of the expected types; raises UnknownId about the input `field` (camelCase path)."""
    return decode_reference(text, *expected, field=field)[1]


def decode_reference(text: str, *expected: str, field: str | None = None) -> tuple[str, UUID]:
    """As `decode_id`, with the type's name, where an input takes ids of several types."""
    assert expected, "say which types the input takes"
    found = split_id(text)
    if found is None or found[0] not in expected:
        shown = text if len(text) <= 80 else text[:80] + "…"
        raise UnknownId(f"There is no {' or '.join(expected)} with the id {shown!r}.", field=field)
    return found
