"""Text of others, as a terminal may be shown it; on its own, since every sentence on standard error needs it."""

import re
import unicodedata

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")


def printable(text: str) -> str:
    """The text without what would move the cursor or change the terminal: it was written by others."""
    plain = _ESCAPES.sub("", text)
    return "".join(mark for mark in plain if mark in "\n\t" or unicodedata.category(mark) not in {"Cc", "Cf", "Cs"})
