"""What a document selects, read from its tokens in one pass: all that the limits ask, at a tenth of parsing's price.

A document that a limit refuses must cost next to nothing, and graphql-core needs 5 µs for a token. So the limits look
at this outline before it is parsed. It accepts more than GraphQL does: whatever it lets pass is parsed and validated
afterwards, and what it cannot make sense of has no outline and is the parser's to explain.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from guildhall.errors import Invalid, LimitExceeded

NESTING_MAX = 64
"""Brackets of any kind within each other, before fragments are opened; the parser would recurse as deep."""

Page = int | str | None
"""The `first` of a field: a number, the `$name` of a variable, or none."""

# Possessive, so that no text of an attacker makes it go back: each character is looked at once.
_TOKEN = re.compile(
    r"(?P<ignored>(?:[\s,\ufeff]|\#[^\n\r]*+)++)|(?P<name>[_A-Za-z][_0-9A-Za-z]*+)|(?P<punctuation>\.\.\.|[!$&()\[\]{}:=@|])"
    r"|(?P<number>-?[0-9][0-9A-Za-z.+-]*+)"
    r'|(?P<text>"""(?:\\"""|[^"]|"(?!""))*+"""|"(?!"")(?:[^"\\\n\r]|\\.)*+")'
)
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_OPERATIONS = frozenset({"query", "mutation", "subscription"})

MARKS = frozenset({"$", "@", "..."})
"""What a document writes wherever it has variables, directives and fragments."""


class DocumentTooComplex(LimitExceeded):
    """Too many tokens, too deep, or too much of something after fragments are opened."""

    code = "DOCUMENT_TOO_COMPLEX"


class RepeatedFragment(Invalid):
    """Two fragments of one name: the limits would count one of them, and the validation reads both."""

    code = "GRAPHQL_VALIDATION_FAILED"


@dataclass(slots=True)
class Selection:
    """A field, an inline fragment (no name) or a spread (the name of its fragment)."""

    name: str = ""
    key: str = ""
    """Under which the field's value stands in the answer: its alias, or its name."""
    spread: str = ""
    condition: str = ""
    directives: int = 0
    page: Page = None
    below: "list[Selection]" = field(default_factory=list)


@dataclass(slots=True)
class Definition:
    """An operation or a fragment, its own directives counted; `defaults` are the whole numbers among its variables'."""

    kind: str
    name: str = ""
    condition: str = ""
    directives: int = 0
    defaults: dict[str, int] = field(default_factory=dict)
    below: list[Selection] = field(default_factory=list)


@dataclass(frozen=True)
class Outline:
    """The definitions of a document, how many tokens it has, and which of the `MARKS`."""

    operations: Sequence[Definition]
    fragments: Mapping[str, Definition]
    tokens: int
    marks: frozenset[str] = frozenset()


class Unreadable(Exception):
    """Not a document; graphql-core says where."""


def outline_of(text: str, tokens_max: int) -> Outline:
    """Raises DocumentTooComplex for too many tokens or brackets within brackets, RepeatedFragment, Unreadable.

    Unreadable is what is no document.
    """
    reader = _Reader(_tokens(text, tokens_max))
    operations, fragments = [], {}
    while reader.ahead:
        definition = reader.definition()
        if definition.kind == "fragment":
            if definition.name in fragments:
                raise RepeatedFragment(f"There can be only one fragment named '{definition.name[:80]}'.")
            fragments[definition.name] = definition
        else:
            operations.append(definition)
    return Outline(operations, fragments, len(reader.tokens), MARKS.intersection(reader.tokens))


def _tokens(text: str, tokens_max: int) -> list[str]:
    tokens: list[str] = []
    position = nesting = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise Unreadable
        position = found.end()
        if found.lastgroup == "ignored":
            continue
        token = found.group()
        tokens.append(token)
        if len(tokens) > tokens_max:
            raise DocumentTooComplex(f"A document has {tokens_max} tokens at most.")
        if token in _OPENING:
            nesting += 1
            if nesting > NESTING_MAX:
                raise DocumentTooComplex(f"A document has {NESTING_MAX} brackets within each other at most.")
        elif token in _CLOSING:
            nesting -= 1
    return tokens


class _Reader:
    """Goes through the tokens once; recurses no deeper than NESTING_MAX."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self._next = iter(tokens)
        self.ahead = ""
        self._advance()

    def _advance(self) -> str:
        """The token that was, having gone on to the next; an empty one after the last."""
        was, self.ahead = self.ahead, next(self._next, "")
        return was

    def _take(self, wanted: str) -> None:
        if self._advance() != wanted:
            raise Unreadable

    def definition(self) -> Definition:
        """One operation or fragment, up to its closing bracket."""
        if self.ahead.startswith('"'):  # a description
            self._advance()
        if self.ahead == "{":
            definition = Definition("query")
        elif self.ahead in _OPERATIONS:
            definition = Definition(self._advance())
            if self.ahead not in {"(", "{", "@"}:
                definition.name = self._advance()
            if self.ahead == "(":
                definition.defaults = self._defaults()
        elif self.ahead == "fragment":
            self._advance()
            definition = Definition("fragment", self._advance())
            self._take("on")
            definition.condition = self._advance()
        else:
            raise Unreadable
        definition.directives = self._directives()
        definition.below = self._selections()
        return definition

    def _selections(self) -> list[Selection]:
        self._take("{")
        found = []
        while self.ahead != "}":
            if not self.ahead:
                raise Unreadable
            found.append(self._fragment() if self.ahead == "..." else self._field())
        self._advance()
        return found

    def _field(self) -> Selection:
        key = name = self._advance()
        if self.ahead == ":":
            self._advance()
            name = self._advance()
        selection = Selection(name, key)
        if self.ahead == "(":
            selection.page = self._page()
        selection.directives = self._directives()
        if self.ahead == "{":
            selection.below = self._selections()
        return selection

    def _fragment(self) -> Selection:
        self._take("...")
        selection = Selection()
        if self.ahead == "on":
            self._advance()
            selection.condition = self._advance()
        elif self.ahead not in {"{", "@"}:
            selection.spread = self._advance()
        selection.directives = self._directives()
        if not selection.spread:
            selection.below = self._selections()
        return selection

    def _directives(self) -> int:
        count = 0
        while self.ahead == "@":
            self._advance()
            self._advance()
            count += 1
            if self.ahead == "(":
                for _ in self._bracketed():
                    pass
        return count

    def _bracketed(self) -> Iterator[str]:
        """The tokens directly between an opening bracket and the one that closes it; of what they open, that alone."""
        self._advance()
        inside = 1
        while inside:
            token = self._advance()
            if not token:
                raise Unreadable
            if token in _CLOSING:
                inside -= 1
            elif inside == 1:
                yield token
            if token in _OPENING:
                inside += 1

    def _page(self) -> Page:
        """The value of the argument `first`; without one that counts, none."""
        page: Page = None
        tokens = self._bracketed()
        for name in tokens:
            if next(tokens, "") != ":":
                raise Unreadable
            value = next(tokens, "")
            given = "$" + next(tokens, "") if value == "$" else _whole(value)
            if name == "first":
                page = given
        return page

    def _defaults(self) -> dict[str, int]:
        defaults = {}
        name = ""
        tokens = self._bracketed()
        for each in tokens:
            if each == "$":
                name = next(tokens, "")
            elif each == "=":
                value = _whole(next(tokens, ""))
                if value is not None:
                    defaults["$" + name] = value
        return defaults


def _whole(token: str) -> int | None:
    """A number of at most nine digits: GraphQL's Int has no longer ones."""
    return int(token) if token.lstrip("-").isdigit() and len(token) <= 10 else None


def opened(
    selections: Sequence[Selection], fragments: Mapping[str, Definition], visit: Callable[[Selection, int], None]
) -> None:
    """Visit everything selected, each fragment wherever it is spread, with its depth in fields; `visit` may raise.

    A fragment within itself is not opened again: that there is one is for the validation to say.
    """
    open_now: set[str] = set()

    def walk(within: Sequence[Selection], depth: int, level: int) -> None:
        if level > NESTING_MAX:
            raise DocumentTooComplex(f"A document has {NESTING_MAX} brackets within each other at most.")
        for selection in within:
            visit(selection, depth)
            if selection.spread:
                fragment = fragments.get(selection.spread)
                if fragment is not None and selection.spread not in open_now:
                    open_now.add(selection.spread)
                    walk(fragment.below, depth, level + 1)
                    open_now.remove(selection.spread)
            elif selection.below:
                walk(selection.below, depth + bool(selection.name), level + 1)

    walk(selections, 1, 1)
