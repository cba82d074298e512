r"""The text that a statement returned, made an answer: its marks are replaced, or tell that it is none.

A mark is `\x01`, a letter, what belongs to it, `\x02`; no JSON text holds these characters. `!` is a mistake that
graphql-core must word. `a` asks whether the cursor of a page belongs to its list, `r` names a record that was read,
`p` is a field that Python answers. A text without marks is the answer as it is.
"""

import re
from collections.abc import Mapping
from uuid import UUID

from guildhall.graphql.compiler.plan import Plan
from guildhall.graphql.compiler.runs import FallBack, Run
from guildhall.graphql.compiler.slots import Listing
from guildhall.graphql.cursors import InvalidCursor
from guildhall.graphql.recording import Reads

_MARK = re.compile("\x01(.)([^\x02]*)\x02")
_CALL = re.compile("\x01p([^\x02]*)\x02")
_MISTAKE = "\x01!"


def is_finished(text: str) -> bool:
    """Whether a text has no marks; raises FallBack where it has that of a mistake."""
    if "\x01" not in text:
        return True
    if _MISTAKE in text:
        raise FallBack
    return False


def calls_in(text: str) -> Mapping[int, list[str]]:
    """By field of Python: what it is asked, each once, in the order of the text."""
    found: dict[int, dict[str, None]] = {}
    for mark in _CALL.finditer(text):
        number, payload = mark[1].split("|", 1)
        found.setdefault(int(number), {})[payload] = None
    return {number: list(payloads) for number, payloads in found.items()}


class Marks:
    """Replaces the marks of one text; what Python said is given by the content of its marks."""

    def __init__(self, plan: Plan, run: Run, reads: Reads, said: Mapping[str, str]) -> None:
        self._plan = plan
        self._run = run
        self._reads = reads
        self._said = said

    def replaced(self, text: str) -> str:
        """The text without marks; raises FallBack for a cursor of another list."""
        return _MARK.sub(self._replace, text)

    def _replace(self, mark: re.Match[str]) -> str:
        letter, rest = mark[1], mark[2]
        match letter:
            case "a":
                return self._checked(rest)
            case "r":
                return self._noted(rest)
            case _:
                return self._said[rest]

    def _checked(self, rest: str) -> str:
        number, parent = rest.split("|", 1)
        listing = self._plan.slots[int(number)]
        assert isinstance(listing, Listing), "the slot of a page"
        after = self._run.arguments(listing.call).get("after")
        if after is not None:
            try:
                self._run.context.signer.open(listing.binding(self._run), after, parent)
            except InvalidCursor as error:
                raise FallBack from error
        return ""

    def _noted(self, rest: str) -> str:
        number, keys = rest.split("|", 1)
        permission, recorded = self._plan.records[int(number)]
        self._reads.note(permission, recorded, [UUID(key) for key in keys.split(",")])
        return ""
