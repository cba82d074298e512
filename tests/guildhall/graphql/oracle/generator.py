"""Random valid documents over a whole schema, fitted to it: pages say `first`, ids and names are of things that exist.

Fields that were chosen seldom are chosen more often, so that a few hundred documents reach nearly all of them.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    get_named_type,
)

from tests.guildhall.graphql.oracle.documents import Argument, Document, Selection, Variable, literal

FIELDS_MAX = 34
DEPTH_MAX = 8
PAGED = frozenset({"edges", "nodes", "pageInfo"})
REFUSED = 0.02
"""How much less often a field is chosen that this viewer was refused before."""
MISTAKES = 0.012
"""How often an argument is wrong on purpose: an id of nothing, a negative page, a cursor of another list."""
FOREIGN = 0.05
"""How often a page that has a cursor begins at one that is not its own."""
TWICE, PAGE_TWICE = 0.3, 0.05
"""How often a field with arguments, or with those of a page alone, is asked again under an alias: for the same now and
for something else next time, or the other way round."""
PAGE = frozenset({"first", "after"})
LEAVES = 4
"""How many values that no document has shown yet are selected of an object beside what was drawn."""


@dataclass
class Known:
    """What exists: ids by type, and values by the coordinate of an argument or input field, or by its type."""

    ids: Mapping[str, Sequence[str]]
    calls: Mapping[str, Sequence[Mapping[str, Any]]]
    values: Mapping[str, Sequence[Any]]


Make = Callable[[random.Random], Any]


@dataclass
class Scope:
    """The answers' keys of one object so far: equal keys must mean equal fields, also across fragments."""

    keys: dict[str, tuple[str, "Scope"]] = field(default_factory=dict)


class Generator:
    """Grows documents; `chosen` counts how often each field was, `resolved` how often it had an object to be asked of.

    What a viewer was refused once, they seldom ask again: most documents are to be answered. `cursors` are some that
    lists gave, for other lists to refuse.
    """

    def __init__(self, schema: GraphQLSchema, known: Known, seed: int) -> None:
        self._schema = schema
        self._known = known
        self._random = random.Random(seed)
        self.chosen: Counter[str] = Counter()
        self.resolved: Counter[str] = Counter()
        self.refused: dict[str, set[str]] = defaultdict(set)
        self.cursors: list[str] = []
        self._viewer = ""
        self._promises: dict[tuple[str, int], int] = {}
        self._left = 0
        self._names = 0
        self._node_types = sorted(name for name, ids in known.ids.items() if ids)

    def document(self, viewer: str) -> Document:
        """One query for the viewer of that name."""
        self._viewer = viewer
        self._promises.clear()
        assert self._schema.query_type is not None, "the schema can be asked"
        self._left = self._random.randint(3, FIELDS_MAX)
        self._names = 0
        return Document(self._selections(self._schema.query_type, Scope(), 1))

    def _selections(self, parent: GraphQLNamedType, scope: Scope, depth: int) -> tuple[Selection, ...]:
        """Some selections of an object or interface; at least one."""
        found: list[Selection] = []
        wanted = self._random.choice((1, 1, 2, 3)) if depth == 1 else self._random.randint(1, 5)
        for _ in range(wanted):
            if found and self._left <= 0:
                break
            selection = self._selection(parent, scope, depth)
            found.append(selection)
            choosing = {each.name for each in selection.arguments} - PAGE
            if selection.arguments and self._left > 0 and self._chance(TWICE if choosing else PAGE_TWICE):
                found.append(self._twin(parent, selection, scope))
        if isinstance(parent, GraphQLObjectType):
            found += (self._field(parent, name, scope, depth) for name in self._unseen_leaves(parent))
        return tuple(found)

    def _unseen_leaves(self, parent: GraphQLObjectType) -> list[str]:
        """They cost next to nothing, and a few hundred documents would not come to all of them otherwise.

        None that anybody is refused: a document with an error shows little.
        """
        refused = set[str]().union(*self.refused.values())
        coordinates = {name: f"{parent.name}.{name}" for name, each in parent.fields.items() if self._is_leaf(each)}
        unseen = [name for name, each in coordinates.items() if not self.resolved[each] and each not in refused]
        return self._random.sample(unseen, min(LEAVES, len(unseen)))

    def _twin(self, parent: GraphQLNamedType, selection: Selection, scope: Scope) -> Selection:
        """The same field under an alias, its arguments variables that are another's or its own in turn."""
        assert isinstance(parent, GraphQLObjectType), f"{parent.name} has fields with arguments"
        definition, coordinate = parent.fields[selection.name], f"{parent.name}.{selection.name}"
        self._left -= 1
        others = self._values(coordinate, definition, frozenset(each.name for each in selection.arguments))
        equal_first = self._chance(0.6)
        arguments = []
        for argument in selection.arguments:
            declared, other = definition.args[argument.name], others.get(argument.name)
            if argument.name == "after" or argument.value is None or other is None:
                arguments.append(argument)
                continue
            now, later = (argument.value, other) if equal_first else (other, argument.value)
            name = f"v{self._number()}"
            variable = Variable(name, str(declared.type), now, later=later)
            arguments.append(Argument(argument.name, f"${name}", variable, now))
        alias = f"a{self._number()}"
        found = replace(selection, alias=alias, arguments=tuple(arguments))
        scope.keys[alias] = (_signature(selection.name, found.arguments, definition), Scope())
        return found

    def _selection(self, parent: GraphQLNamedType, scope: Scope, depth: int) -> Selection:
        if isinstance(parent, GraphQLInterfaceType):
            return self._of_interface(parent, scope, depth)
        if self._chance(0.08):
            condition = self._random.choice((parent.name, None, parent.name))
            return self._fragment(parent, condition, scope, depth)
        if self._chance(0.06):
            return Selection("__typename", directives=self._directives())
        assert isinstance(parent, GraphQLObjectType), f"{parent.name} has fields"
        return self._field(parent, self._pick(parent, depth), scope, depth)

    def _of_interface(self, parent: GraphQLInterfaceType, scope: Scope, depth: int) -> Selection:
        kind = self._random.random()
        if kind < 0.15:
            return Selection("__typename")
        if kind < 0.25:
            return Selection("id")
        names = sorted(each.name for each in self._schema.get_possible_types(parent))
        name = self._rarest(names)
        concrete = self._schema.type_map[name]
        return self._fragment(concrete, name, scope, depth)

    def _fragment(self, parent: GraphQLNamedType, condition: str | None, scope: Scope, depth: int) -> Selection:
        spread = f"F{self._number()}" if condition is not None and self._chance(0.4) else None
        below = self._selections(parent, scope, max(depth, 2))
        return Selection(condition=condition, spread=spread, below=below, directives=self._directives())

    def _field(self, parent: GraphQLObjectType, name: str, scope: Scope, depth: int) -> Selection:
        definition = parent.fields[name]
        coordinate = f"{parent.name}.{name}"
        self.chosen[coordinate] += 1
        self._left -= 1
        arguments = self._arguments(coordinate, definition)
        signature = _signature(name, arguments, definition)
        alias = f"a{self._number()}" if self._chance(0.12) else None
        held = scope.keys.get(alias or name)
        if held is not None and held[0] != signature:
            alias, held = f"a{self._number()}", None
        inner = Scope() if held is None else held[1]
        scope.keys[alias or name] = (signature, inner)
        named = get_named_type(definition.type)
        below = None
        if isinstance(named, GraphQLObjectType | GraphQLInterfaceType):
            target = self._target(coordinate, arguments, named)
            below = self._selections(named, inner, depth + 1)
            if target is not None:
                below = (*below, self._fragment(self._schema.type_map[target], target, inner, depth + 1))
            if any(each.name == "after" for each in arguments) and self._chance(0.6):
                below = (*below, Selection("pageInfo", below=(Selection("endCursor"),)))
            if named.name.endswith("Connection") and not any(each.name == "first" for each in arguments):
                below = _unpaged(below) or (Selection("__typename"),)
        return Selection(name, alias, arguments, self._directives(), below=below)

    def _target(self, coordinate: str, arguments: tuple[Argument, ...], named: GraphQLNamedType) -> str | None:
        """For `node(id:)`: the type of the id, so that a fragment on it is asked."""
        if not isinstance(named, GraphQLInterfaceType) or coordinate != "Query.node":
            return None
        given = arguments[0].variable.value if arguments[0].variable is not None else arguments[0].text.strip('"')
        name = str(given).partition("_")[0]
        return (
            name
            if name in self._schema.type_map and isinstance(self._schema.type_map[name], GraphQLObjectType)
            else None
        )

    def _pick(self, parent: GraphQLObjectType, depth: int) -> str:
        names = [name for name in parent.fields if depth < DEPTH_MAX or self._is_leaf(parent.fields[name])]
        if self._left <= 0:
            names = [name for name in names if self._is_leaf(parent.fields[name])] or names
        names = names or list(parent.fields)
        weights = [self._weight(parent, name) for name in names]
        chosen: str = self._random.choices(names, weights)[0]
        return chosen

    def _weight(self, parent: GraphQLObjectType, name: str) -> float:
        coordinate = f"{parent.name}.{name}"
        if coordinate == "Query.node":
            return 2.0
        weight = 1.0 / (1 + self.chosen[coordinate] / 4 + self.resolved[coordinate])
        below = get_named_type(parent.fields[name].type)
        if coordinate in self.refused[self._viewer]:
            return weight * REFUSED
        if isinstance(below, GraphQLObjectType):
            weight += 0.3 * self._unseen(below.name)
        return float(weight)

    def _unseen(self, name: str, steps: int = 3) -> int:
        """How many fields of a type, and a few steps below it, no document has shown yet."""
        key = (name, steps)
        if key not in self._promises:
            type_ = self._schema.type_map[name]
            assert isinstance(type_, GraphQLObjectType), f"{name} has fields"
            own = sum(self.resolved[f"{name}.{each}"] == 0 for each in type_.fields)
            targets = {get_named_type(each.type) for each in type_.fields.values()} if steps else set()
            below = [each.name for each in targets if isinstance(each, GraphQLObjectType) and _is_part(each)]
            self._promises[key] = own + sum(self._unseen(each, steps - 1) for each in below)
        return self._promises[key]

    def _is_leaf(self, definition: GraphQLField) -> bool:
        return not isinstance(get_named_type(definition.type), GraphQLObjectType | GraphQLInterfaceType)

    def _rarest(self, names: Sequence[str]) -> str:
        weights = [1 / (1 + self.chosen[f"on {name}"]) + 0.3 * self._unseen(name) for name in names]
        name = self._random.choices(names, weights)[0]
        self.chosen[f"on {name}"] += 1
        return name

    def _arguments(self, coordinate: str, definition: GraphQLField) -> tuple[Argument, ...]:
        values = self._values(coordinate, definition)
        return tuple(
            self._passed(name, argument, values[name]) for name, argument in definition.args.items() if name in values
        )

    def _values(
        self, coordinate: str, definition: GraphQLField, wanted: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """Of the arguments that are given, those `wanted` among them."""
        together = self._known.calls.get(coordinate)
        values = dict(self._random.choice(together)) if together and not self._chance(MISTAKES) else {}
        for name, argument in definition.args.items():
            if name not in values:
                required = isinstance(argument.type, GraphQLNonNull) and argument.default_value is Undefined
                if required or name in wanted or self._is_wanted(name):
                    values[name] = self._argument(coordinate, name, argument)
        return values

    def _is_wanted(self, name: str) -> bool:
        return self._chance({"first": 0.97, "after": 0.3}.get(name, 0.4))

    def _argument(self, coordinate: str, name: str, argument: GraphQLArgument) -> Any:
        if name == "first":
            return (
                self._random.choice((-1, 10_000)) if self._chance(MISTAKES) else self._random.choice((1, 2, 2, 3, 4, 7))
            )
        if name == "after":
            strange = ("", "bm90IG91cnM", "x" * 40, *self.cursors)
            return self._random.choice(strange) if self._chance(FOREIGN) else None
        if coordinate == "Query.node":
            return self._id(self._rarest(self._node_types))
        return self._value(f"{coordinate}.{name}", argument.type)

    def _value(self, coordinate: str, type_: Any) -> Any:
        if isinstance(type_, GraphQLNonNull):
            return self._value(coordinate, type_.of_type)
        pool = self._known.values.get(coordinate)
        if isinstance(type_, GraphQLList):
            return [self._value(coordinate, type_.of_type) for _ in range(self._random.choice((0, 1, 2, 3)))]
        if isinstance(type_, GraphQLInputObjectType):
            return self._input(coordinate, type_)
        if isinstance(type_, GraphQLEnumType):
            return self._random.choice(sorted(type_.values))
        if pool:
            return self._random.choice(pool)
        if type_.name == "ID":
            return self._id(self._random.choice(self._node_types))
        return self._random.choice(self._known.values[type_.name])

    def _input(self, coordinate: str, type_: GraphQLInputObjectType) -> dict[str, Any]:
        values = {}
        for name, definition in type_.fields.items():
            required = isinstance(definition.type, GraphQLNonNull) and definition.default_value is Undefined
            if required or self._chance(min(0.5, 1.5 / len(type_.fields))):
                # Operators (`eq`, `in`, `from`, …) take values of the field that they belong to.
                inner = coordinate if type_.name.endswith(("Choice", "Range")) else f"{type_.name}.{name}"
                values[name] = self._value(inner, definition.type)
        return values

    def _id(self, type_name: str) -> str:
        if self._chance(MISTAKES):
            return self._random.choice(("", "no id", f"{type_name}_{'0' * 32}", "Nothing_" + "1" * 32))
        return self._random.choice(self._known.ids[type_name])

    def _passed(self, name: str, argument: GraphQLArgument, value: Any) -> Argument:
        """As a literal or as a variable, which may have a default or be left out."""
        text = literal(argument.type, value)
        if name != "after" and self._chance(0.5):
            return Argument(name, text, value=value)
        variable = f"v{self._number()}"
        type_ = str(argument.type)
        if not type_.endswith("!") and self._chance(0.15) and value is not None:
            type_ += "!"
        if value is not None and not type_.endswith("!") and self._chance(0.15):
            return Argument(name, f"${variable}", Variable(variable, type_, given=False, default=text), value)
        return Argument(name, f"${variable}", Variable(variable, type_, value), value)

    def _directives(self) -> tuple[tuple[str, Argument], ...]:
        if not self._chance(0.07):
            return ()
        name = self._random.choice(("skip", "include"))
        kept = self._chance(0.6)
        value = kept if name == "include" else not kept
        if self._chance(0.4):
            return ((name, Argument("if", str(value).lower())),)
        variable = f"v{self._number()}"
        return ((name, Argument("if", f"${variable}", Variable(variable, "Boolean!", value))),)

    def _number(self) -> int:
        self._names += 1
        return self._names

    def _chance(self, share: float) -> bool:
        return self._random.random() < share


def _signature(name: str, arguments: Sequence[Argument], definition: GraphQLField) -> str:
    return f"{name}({[(each.name, each.text) for each in arguments]}): {definition.type}"


def _unpaged(selections: tuple[Selection, ...]) -> tuple[Selection, ...]:
    return tuple(each for each in selections if each.name and each.name not in PAGED)


def _is_part(type_: GraphQLObjectType) -> bool:
    """Whether a type is reached through others only; nodes are reached by their ids."""
    return not type_.interfaces
