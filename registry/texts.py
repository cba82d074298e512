"""Texts that people write: trimmed, of a stated length, and what a list of tags may hold."""

import re
from collections.abc import Sequence

from guildhall.errors import Invalid
from guildhall.slugs import require_slug

TAGS_MAX = 20
_BIDI_OVERRIDE = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of what follows: with them a text can show as another one."""


class InvalidText(Invalid):
    """A text that is missing, too long, or holds a character that cannot be stored or that misleads readers."""

    code = "INVALID_TEXT"


def require_text(value: str | None, field: str, *, characters_max: int, empty_allowed: bool = False) -> str:
    """The text without white space around it; None counts as empty. Raises InvalidText about the field."""
    text = (value or "").strip()
    if not text and not empty_allowed:
        raise InvalidText("This text may not be empty.", field=field)
    if len(text) > characters_max:
        raise InvalidText(f"This text has {len(text)} characters; {characters_max} are the most.", field=field)
    if "\0" in text:
        raise InvalidText("This text holds a null character, which cannot be stored.", field=field)
    if (found := _BIDI_OVERRIDE.search(text)) is not None:
        raise InvalidText(
            f"This text holds U+{ord(found[0]):04X}, which changes the direction of writing; leave it out.", field=field
        )
    return text


def require_tags(values: Sequence[str], field: str = "tags") -> list[str]:
    """The tags as slugs, each once, in order; at most TAGS_MAX."""
    tags = sorted({require_slug(value.strip().lower(), f"{field}[{number}]") for number, value in enumerate(values)})
    if len(tags) > TAGS_MAX:
        raise InvalidText(f"{len(tags)} tags are more than the {TAGS_MAX} that fit.", field=field)
    return tags
