"""What a document may cost: an upper bound of the rows that its answer is made of, known before it runs.

A page counts as large as its `first`, a plain list as long as its maximum, an object of another table as one; what
stands within them counts for each of their rows. The sizes that variables give are left open, so that a document is
costed once and its price is told for every call of it.

Beside the rows stand the tables that a document has read: each is planned and written once for the document, so they
are what a document costs that nobody sent before.

Introspection counts its lists as rows: each is as long as the longest of its kind in the schema.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphql import (
    GraphQLNamedType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_enum_type,
    is_input_object_type,
    is_interface_type,
    is_object_type,
)

from guildhall.errors import LimitExceeded
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.declare import LIST_MAXIMUM
from guildhall.graphql.outline import Definition, Outline, Selection
from guildhall.graphql.sources import (
    Batched,
    Calculated,
    Connection,
    Find,
    JsonValue,
    Many,
    ManyByIds,
    NodeById,
    One,
    Reference,
    References,
    Resolve,
    Source,
)

_ROOTS = {"query": "Query", "mutation": "Mutation", "subscription": "Subscription"}
_INTROSPECTION = {"__schema": "__Schema", "__type": "__Type"}


class TooManyReads(LimitExceeded):
    """More tables read, once for each place in the document, than one statement may have."""

    code = "DOCUMENT_TOO_COMPLEX"


class QueryTooCostly(LimitExceeded):
    """Pages within pages that could come to more rows than one answer may have."""

    code = "QUERY_TOO_COSTLY"


Terms = dict[tuple[str, ...], int]
"""A sum of products: the variables whose sizes are multiplied, and by what."""


@dataclass(frozen=True)
class Cost:
    """The rows of one operation as a sum of products of page sizes, those that variables say still open.

    `reads` is how many tables it reads, whatever the variables say; a reference reads one for each type of its own.
    """

    terms: Terms
    defaults: Mapping[str, int]
    page_max: int
    reads: int = 0

    def rows(self, variables: Mapping[str, Any]) -> int:
        """The bound for one call."""
        sizes = {}
        for name, variable, default in self._open:
            sizes[name] = page_size(variables.get(variable, default), self.page_max)
        total = 0
        for names, count in self.terms.items():
            for name in names:
                count *= sizes[name]  # noqa: PLW2901 -- the product grows
            total += count
        return total

    @cached_property
    def _open(self) -> Sequence[tuple[str, str, int | None]]:
        """What variables leave open: the name as terms have it, the variable's own, and its default."""
        names = dict.fromkeys(name for names in self.terms for name in names)
        return [(name, name[1:], self.defaults.get(name)) for name in names]

    def require(self, variables: Mapping[str, Any], rows_max: int) -> int:
        """The bound for one call; raises QueryTooCostly above the maximum."""
        rows = self.rows(variables)
        if rows > rows_max:
            raise QueryTooCostly(
                f"This document could come to {rows} rows, and {rows_max} is the most: ask for smaller pages."
            )
        return rows

    def require_reads(self, reads_max: int) -> None:
        """Raises TooManyReads above the maximum."""
        if self.reads > reads_max:
            raise TooManyReads(
                f"This document reads {self.reads} tables, its fragments opened, and {reads_max} is the most; "
                "a reference reads one for each type that it may lead to."
            )


def page_size(given: object, page_max: int) -> int:
    """A page has a row at least, for its count; one that is too large is refused where it stands."""
    return max(1, int(min(given, page_max))) if isinstance(given, int | float) else 1


class Costing:
    """Costs the operations of one schema."""

    def __init__(self, schema: GraphQLSchema, catalogue: Catalogue, page_max: int) -> None:
        self._schema = schema
        self._catalogue = catalogue
        self._page_max = page_max
        self._introspected = _introspected(schema)

    def of(self, outline: Outline, operation: Definition) -> Cost:
        """For an outline within its limits; what the schema does not have costs nothing, and is refused later."""
        terms: Terms = {}
        reads = self._add(terms, operation.below, _ROOTS[operation.kind], outline.fragments, ())
        return Cost(terms, operation.defaults, self._page_max, reads)

    def _add(
        self,
        terms: Terms,
        selections: Sequence[Selection],
        type_name: str,
        fragments: Mapping[str, Definition],
        within: tuple[str, ...],
        times: int = 1,
        opened: frozenset[str] = frozenset(),
    ) -> int:
        """Add the rows of some selections; how many tables they read."""
        reads = 0
        for selection in selections:
            if selection.spread:
                fragment = fragments.get(selection.spread)
                if fragment is not None and selection.spread not in opened:
                    inner = opened | {selection.spread}
                    reads += self._add(terms, fragment.below, fragment.condition, fragments, within, times, inner)
                continue
            if not selection.name:
                condition = selection.condition or type_name
                reads += self._add(terms, selection.below, condition, fragments, within, times, opened)
                continue
            target = self._target(type_name, selection.name)
            if target is None or not selection.below:
                continue
            rows, count, tables = self._weight(type_name, selection)
            reads += tables
            names = within
            if isinstance(count, str):
                names, count = tuple(sorted((*within, count))), 1
            if rows:
                terms[names] = terms.get(names, 0) + times * count
            reads += self._add(terms, selection.below, target, fragments, names, times * count, opened)
        return reads

    def _target(self, type_name: str, field_name: str) -> str | None:
        if field_name in _INTROSPECTION:
            return _INTROSPECTION[field_name]
        fields = getattr(self._schema.get_type(type_name), "fields", {})
        return get_named_type(fields[field_name].type).name if field_name in fields else None

    def _weight(self, type_name: str, selection: Selection) -> tuple[bool, int | str, int]:
        """Whether the field's objects are rows of their own, how many there are at most, and in how many tables."""
        listed = self._introspected.get((type_name, selection.name))
        if listed is not None:
            return True, listed, 0
        declared = self._catalogue.types.get(type_name)
        field = None if declared is None else declared.fields.get(selection.name)
        source: Source | None = None if field is None else field.source
        match source:
            case Connection():
                page = selection.page
                tables = 1 if source.reference is None else 1 + len(source.reference[2])
                return True, page if isinstance(page, str) else page_size(page, self._page_max), tables
            case Many() | ManyByIds():
                return True, source.maximum, 1
            case References():
                return True, source.maximum, len(source.types)
            case Reference():
                return True, 1, len(source.types)
            case One() | Find() | NodeById():
                return True, 1, 1
            case JsonValue() | Calculated() | Resolve() | Batched():
                return isinstance(source, Resolve | Batched), LIST_MAXIMUM if source.many else 1, 0
            case _:
                return False, 1, 0


def _introspected(schema: GraphQLSchema) -> Mapping[tuple[str, str], int]:
    """How long the lists of objects that introspection has may be, by type and field."""
    types: Sequence[GraphQLNamedType] = list(schema.type_map.values())
    composite: list[Any] = [each for each in types if is_object_type(each) or is_interface_type(each)]
    arguments = [len(field.args) for each in composite for field in each.fields.values()]
    return {
        ("__Schema", "types"): len(types),
        ("__Schema", "directives"): len(schema.directives),
        ("__Directive", "args"): max((len(each.args) for each in schema.directives), default=0),
        ("__Field", "args"): max(arguments, default=0),
        ("__Type", "fields"): max((len(each.fields) for each in composite), default=0),
        ("__Type", "interfaces"): max((len(each.interfaces) for each in composite), default=0),
        ("__Type", "possibleTypes"): max(
            (len(schema.get_possible_types(each)) for each in types if is_abstract_type(each)), default=0
        ),
        ("__Type", "inputFields"): max((len(each.fields) for each in types if is_input_object_type(each)), default=0),
        ("__Type", "enumValues"): max((len(each.values) for each in types if is_enum_type(each)), default=0),
    }
