r"""The text that a statement returned, made an answer: its marks are replaced, or tell that it is none.

A mark is `\x01`, a letter, what belongs to it, `\x02`; no JSON text holds these characters. `!` is a mistake that
graphql-core must word. `c` is a cursor to be signed, `a` asks whether the cursor of a page belongs to its list, `r`
names a record that was read, `p` is a field that Python answers. A text without marks is the answer as it is.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from guildhall.graphql.compiler.fragments import Fragment
from guildhall.graphql.compiler.plan import Plan
from guildhall.graphql.compiler.python_fields import reader_of
from guildhall.graphql.compiler.runs import FallBack, Run
from guildhall.graphql.cursors import InvalidCursor
from guildhall.graphql.recording import Reads

_MARK = re.compile("\x01(.)([^\x02]*)\x02")
_CALL = re.compile("\x01p([^\x02]*)\x02")
_MISTAKE = "\x01!"
_PLACE = msgspec.json.Decoder(float_hook=Decimal)


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

    def __init__(
        self, plan: Plan, run: Run, fragments: Sequence[Fragment], reads: Reads, said: Mapping[str, str]
    ) -> None:
        self._plan = plan
        self._run = run
        self._fragments = fragments
        self._reads = reads
        self._said = said
        self._bindings: dict[tuple[str, str], bytes] = {}
        self._readers: dict[str, list[Callable[[Any], Any]]] = {}

    def replaced(self, text: str) -> str:
        """The text without marks; raises FallBack for a cursor of another list."""
        return _MARK.sub(self._replace, text)

    def _replace(self, mark: re.Match[str]) -> str:
        letter, rest = mark[1], mark[2]
        match letter:
            case "c":
                return self._signed(rest)
            case "a":
                return self._checked(rest)
            case "r":
                return self._noted(rest)
            case _:
                return self._said[rest]

    def _signed(self, rest: str) -> str:
        site, parent, values = rest.split("|", 2)
        place = _PLACE.decode(values)
        read = [reader(value) for reader, value in zip(self._readers_of(site), place, strict=True)]
        return f'"{self._run.context.signer.sign(self._binding(site, parent), read)}"'

    def _checked(self, rest: str) -> str:
        site, parent = rest.split("|", 1)
        after = self._run.arguments(self._plan.sites[int(site)].call).get("after")
        if after is not None:
            try:
                self._run.context.signer.open(self._binding(site, parent), after)
            except InvalidCursor as error:
                raise FallBack from error
        return ""

    def _noted(self, rest: str) -> str:
        number, keys = rest.split("|", 1)
        permission, recorded = self._plan.records[int(number)]
        self._reads.note(permission, recorded, [UUID(key) for key in keys.split(",")])
        return ""

    def _binding(self, site: str, parent: str) -> bytes:
        found = self._bindings.get((site, parent))
        if found is None:
            found = self._plan.sites[int(site)].binding(self._run, parent)
            self._bindings[site, parent] = found
        return found

    def _readers_of(self, site: str) -> list[Callable[[Any], Any]]:
        found = self._readers.get(site)
        if found is None:
            types = self._plan.order_types(int(site), self._fragments)
            found = self._readers[site] = [reader_of(type_) for type_ in types]
        return found
