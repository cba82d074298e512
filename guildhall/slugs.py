"""The names that appear in addresses and commands: short, lower case, unique in their scope."""

import re

from guildhall.errors import Invalid

SLUG_PATTERN = "^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
"""As tables check it too, so that raw SQL cannot store another."""

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class InvalidSlug(Invalid):
    """A name that cannot stand in an address."""

    code = "INVALID_SLUG"


def require_slug(value: str, field: str | None) -> str:
    """The value itself, or InvalidSlug about the input field (camelCase path)."""
    if _SLUG.fullmatch(value) is None:
        shown = value if len(value) <= 70 else value[:70] + "…"
        raise InvalidSlug(
            f"{shown!r} cannot be a name: use 1 to 63 lower-case letters, digits and hyphens, "
            "beginning and ending with a letter or digit.",
            field=field,
        )
    return value
