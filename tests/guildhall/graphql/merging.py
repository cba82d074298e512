"""Random documents that are right by every rule but, half of them, the one about fields that are to be merged.

They have few names and many fragments, so that fields of one key meet, often of types that exclude each other.
"""

import random
from collections.abc import Iterator

from graphql import (
    DocumentNode,
    GraphQLField,
    GraphQLNamedType,
    build_schema,
    do_types_overlap,
    get_named_type,
    is_composite_type,
    is_interface_type,
    is_leaf_type,
    is_object_type,
    parse,
    validate,
)

_OWNER = "owner(like: Like): Being"
_BEING = "name(form: Form): String, title(form: Form): String, mate(first: Int): Being, friend: Being"
SCHEMA = build_schema(f"""
    enum Form {{ SHORT LONG }}
    input Like {{ name: String, forms: [Form!], near: Like }}
    interface Being {{ {_BEING} }}
    interface Pet implements Being {{ {_BEING}, {_OWNER} }}
    type Dog implements Being & Pet {{ {_BEING}, {_OWNER}, size: Int!, tags: [String], things: [Thing] }}
    type Cat implements Being & Pet {{ {_BEING}, {_OWNER}!, size: Int, tags: [String], things: [Being] }}
    type Bird implements Being {{ {_BEING}, size: Int, tags: String }}
    type Stone {{ name(form: Form): String, title(form: Form): String, size: Int, things: [Thing] }}
    union Thing = Dog | Cat | Stone
    type Query {{
        being: Being, pet(like: Like): Pet, thing: Thing, things(first: Int): [Thing], dog: Dog
        echo(first: Int, second: Int): Int
    }}
""")
ERRORS_MAX = 100_000
"""More than a document has of them: graphql-core ends after a hundred otherwise, and says so as one more."""

_COMPOSITE = [type_ for type_ in SCHEMA.type_map.values() if is_composite_type(type_) and type_.name[0] != "_"]
_ALIASES = {"title": "name", "name": "title", "friend": "mate", "mate": "friend", "size": "tags"}
_UNLIKE = frozenset({"size", "tags", "things", "owner"})
"""Fields of one name that have values of different forms."""

_LIKES = (
    '{name: "x", near: {forms: [SHORT]}}', '{near: {forms: [SHORT]}, name: "x"}', "{forms: [SHORT, LONG]}",
    "{forms: [LONG, SHORT]}", '{name: "x"}', '{name: """x"""}', "null",
)  # fmt: skip


def documents(seed: int, count: int) -> Iterator[DocumentNode]:
    """Some documents, always the same for a seed."""
    generator = random.Random(seed)
    for _ in range(count):
        yield parse(_Author(generator).text())


def conflicts(document: DocumentNode) -> bool:
    """What graphql-core says of it; asserts that it is right by every other rule."""
    errors = validate(SCHEMA, document, max_errors=ERRORS_MAX)
    assert all(" conflict because " in each.message for each in errors)
    return errors != []


class _Author:
    """Writes one document: a fragment may spread those after it."""

    def __init__(self, generator: random.Random) -> None:
        self._random = generator
        self._careless = generator.choice((0.0, 0.0, 0.0, 0.05))
        self._values = {"Int": ("1", "$n"), "Form": ("LONG", "SHORT"), "Like": generator.sample(_LIKES, 2)}
        self._unlike = generator.random() < 0.3
        self._calls: dict[tuple[str, str], tuple[str, str]] = {}
        self._fragments = [generator.choice(_COMPOSITE) for _ in range(generator.randrange(4))]
        self._spread: set[int] = set()

    def text(self) -> str:
        """The whole document, with the fragments that are spread."""
        query = SCHEMA.query_type
        assert query is not None
        parts = [
            f"query Q{number}($n: Int) {{ used: echo(first: $n) {self._selections(query, 3, 0)} }}"
            for number in range(self._random.choice((1, 1, 1, 2)))
        ]
        for number, type_ in enumerate(self._fragments):
            if number in self._spread:
                parts.append(f"fragment F{number} on {type_.name} {{ {self._selections(type_, 3, number + 1)} }}")
        return "\n".join(parts)

    def _selections(self, parent: GraphQLNamedType, depth: int, first: int) -> str:
        return " ".join(self._selection(parent, depth, first) for _ in range(self._random.choice((1, 2, 2, 3))))

    def _selection(self, parent: GraphQLNamedType, depth: int, first: int) -> str:
        drawn = self._random.random()
        if drawn < 0.2:
            later = [each for each in range(first, len(self._fragments)) if _overlap(self._fragments[each], parent)]
            if later:
                number = self._random.choice(later)
                self._spread.add(number)
                return f"...F{number}"
        fields = dict(parent.fields) if is_object_type(parent) or is_interface_type(parent) else {}
        if depth and (drawn < (0.3 if is_object_type(parent) else 0.7) or not fields):
            type_ = self._random.choice([each for each in _COMPOSITE if _overlap(each, parent)])
            condition = f"on {type_.name} " if type_ is not parent or drawn < 0.3 else ""
            return f"... {condition}{{ {self._selections(type_, depth - 1, first)} }}"
        fields = {
            name: each
            for name, each in fields.items()
            if (depth or is_leaf_type(get_named_type(each.type))) and (self._unlike or name not in _UNLIKE)
        }
        if not fields or drawn > 0.98:
            return "__typename"
        return self._field(parent, *self._random.choice(list(fields.items())), depth, first)

    def _field(self, parent: GraphQLNamedType, name: str, field: GraphQLField, depth: int, first: int) -> str:
        """A field that is called as its type always calls it in this document, unless there is a slip."""
        called = self._calls.get((parent.name, name))
        if called is None or self._random.random() < self._careless:
            called = self._call(name, field, likely=is_object_type(parent) and parent is not SCHEMA.query_type)
            self._calls.setdefault((parent.name, name), called)
        alias, arguments = called
        type_ = get_named_type(field.type)
        below = f" {{ {self._selections(type_, depth - 1, first)} }}" if is_composite_type(type_) else ""
        return f"{alias}{name}{arguments}{below}"

    def _call(self, name: str, field: GraphQLField, *, likely: bool) -> tuple[str, str]:
        if not likely and self._random.random() < 0.97:
            return "", ""
        alias = f"{_ALIASES.get(name, name)}: " if self._random.random() < 0.12 else ""
        given = [
            f"{each}: {self._random.choice(self._values[get_named_type(argument.type).name])}"
            for each, argument in field.args.items()
            if self._random.random() < 0.12
        ]
        return alias, f"({', '.join(given)})" if given else ""


def _overlap(one: GraphQLNamedType, other: GraphQLNamedType) -> bool:
    assert is_composite_type(one)
    assert is_composite_type(other)
    return do_types_overlap(SCHEMA, one, other)
