"""Random documents as trees: what a generator grows, a reducer prunes, and graphql-core parses."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLList, GraphQLNonNull


@dataclass(frozen=True)
class Variable:
    """One variable of the operation, `given` unless it is left to its default; `later` is what it may be next time."""

    name: str
    type: str
    value: Any = None
    given: bool = True
    default: str | None = None
    later: Any = None


@dataclass(frozen=True)
class Argument:
    """What stands in the text, and the `value` that it stands for, where that is known."""

    name: str
    text: str
    variable: Variable | None = None
    value: Any = None


@dataclass(frozen=True)
class Selection:
    """A field, or (without a name) a fragment: inline, or named by `spread`."""

    name: str = ""
    alias: str | None = None
    arguments: tuple[Argument, ...] = ()
    directives: tuple[tuple[str, Argument], ...] = ()
    condition: str | None = None
    spread: str | None = None
    below: "tuple[Selection, ...] | None" = None

    @property
    def key(self) -> str:
        return self.alias or self.name


@dataclass(frozen=True)
class Document:
    selections: tuple[Selection, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        fragments: dict[str, str] = {}
        body = _selection_set(self.selections, fragments)
        variables = {each.name: each for each in _variables(self.selections)}
        defined = ", ".join(
            f"${each.name}: {each.type}" + ("" if each.default is None else f" = {each.default}")
            for each in variables.values()
        )
        named = "".join(f" fragment {name} {fragment}" for name, fragment in fragments.items())
        return f"query{f' ({defined})' if defined else ''} {body}{named}"

    @property
    def variables(self) -> dict[str, Any]:
        found = {each.name: each.value for each in _variables(self.selections) if each.given}
        return {**found, **{name: value for name, value in self.overrides.items() if name in found}}

    @property
    def again(self) -> "Document | None":
        """The same text with other variables; None where there are none."""
        found = {each.name: each.later for each in _variables(self.selections) if each.later is not None}
        return replace(self, overrides=found) if found and not self.overrides else None


def _variables(selections: tuple[Selection, ...]) -> Iterator[Variable]:
    for selection in selections:
        arguments = (*selection.arguments, *(argument for _, argument in selection.directives))
        yield from (argument.variable for argument in arguments if argument.variable is not None)
        yield from _variables(selection.below or ())


def _selection_set(selections: tuple[Selection, ...], fragments: dict[str, str]) -> str:
    return "{ " + " ".join(_selection(each, fragments) for each in selections) + " }"


def _selection(selection: Selection, fragments: dict[str, str]) -> str:
    directives = "".join(f" @{name}({argument.name}: {argument.text})" for name, argument in selection.directives)
    if selection.name:
        alias = "" if selection.alias is None else f"{selection.alias}: "
        arguments = ", ".join(f"{argument.name}: {argument.text}" for argument in selection.arguments)
        below = "" if selection.below is None else " " + _selection_set(selection.below, fragments)
        return f"{alias}{selection.name}{f'({arguments})' if arguments else ''}{directives}{below}"
    assert selection.below is not None, "a fragment selects something"
    body = _selection_set(selection.below, fragments)
    condition = "" if selection.condition is None else f"on {selection.condition} "
    if selection.spread is None:
        return f"... {condition}{directives} {body}"
    fragments[selection.spread] = f"{condition}{body}"
    return f"...{selection.spread}{directives}"


def literal(type_: Any, value: Any) -> str:
    """A value in the words of GraphQL."""
    if isinstance(type_, GraphQLNonNull):
        return literal(type_.of_type, value)
    if value is None:
        return "null"
    if isinstance(type_, GraphQLList):
        return "[" + ", ".join(literal(type_.of_type, each) for each in value) + "]"
    if isinstance(type_, GraphQLInputObjectType):
        shown = (f"{name}: {literal(type_.fields[name].type, each)}" for name, each in value.items())
        return "{" + ", ".join(shown) + "}"
    if isinstance(type_, GraphQLEnumType):
        return str(value)
    return json.dumps(value)


def smaller(document: Document) -> Iterator[Document]:
    """The documents with one selection, argument or directive less; some are not valid."""
    for selections in _pruned(document.selections):
        if selections:
            yield replace(document, selections=selections)


def _pruned(selections: tuple[Selection, ...]) -> Iterator[tuple[Selection, ...]]:
    for place, selection in enumerate(selections):
        before, after = selections[:place], selections[place + 1 :]
        yield (*before, *after)
        if not selection.name and selection.below is not None:
            yield (*before, *selection.below, *after)
        for each in _lighter(selection):
            yield (*before, each, *after)


def _lighter(selection: Selection) -> Iterator[Selection]:
    if selection.directives:
        yield replace(selection, directives=())
    for place in range(len(selection.arguments)):
        yield replace(selection, arguments=selection.arguments[:place] + selection.arguments[place + 1 :])
    for below in _pruned(selection.below or ()):
        if below:
            yield replace(selection, below=below)
