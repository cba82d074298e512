"""What a document may be, asked before it is parsed: depth, and what it comes to once its fragments are opened."""

from collections.abc import Mapping
from typing import Any, NoReturn

from guildhall.errors import LimitExceeded
from guildhall.graphql.outline import Definition, DocumentTooComplex, Outline, Selection, opened
from guildhall.settings import Settings

INTROSPECTION_DEPTH_MAX = 20
"""Types within types within types: what the usual introspection asks for is deeper than any page of ours."""

OPERATIONS_MAX = 10
"""A request runs one; each of the others is validated and costed with it."""

VALUES_MAX = 2_000
"""How many values the variables of a query hold, lists and objects with all that is in them.

A filter compares with a few hundred, and says so once they are coerced, at half a microsecond each, and again by
graphql-core. What changes something may bring long lists (a configuration, the files of a version).
"""

_INTROSPECTION = frozenset({"__schema", "__type"})


class DocumentTooLarge(LimitExceeded):
    """More bytes than a document may have."""

    code = "DOCUMENT_TOO_LARGE"


class VariablesTooLarge(LimitExceeded):
    """More bytes than variables may have, or more values than those of a query."""

    code = "VARIABLES_TOO_LARGE"


def check_outline(outline: Outline, settings: Settings) -> None:
    """Raises DocumentTooComplex. All operations count together, and so do fragments that none of them reaches."""
    if len(outline.operations) > OPERATIONS_MAX:
        raise DocumentTooComplex(f"A document has {OPERATIONS_MAX} operations at most; a request runs one.")
    counter = _Counter(outline, settings)
    for operation in outline.operations:
        introspects = any(selection.name in _INTROSPECTION for selection in operation.below)
        depth_max = INTROSPECTION_DEPTH_MAX if introspects else settings.graphql_depth_max
        counter.count(operation, max(depth_max, settings.graphql_depth_max))
    for name, fragment in outline.fragments.items():
        if name not in counter.reached:
            counter.count(fragment, settings.graphql_depth_max)


def check_variables(variables: Mapping[str, Any]) -> None:
    """Raises VariablesTooLarge for more values than a query compares anything with, having looked at no more."""
    values = 0
    within: list[Any] = [variables]
    for each in within:  # grows while it is read
        if isinstance(each, Mapping | list):
            values += len(each)
            if values > VALUES_MAX:
                raise VariablesTooLarge(
                    f"The variables of a query hold {VALUES_MAX} values at most, their lists opened."
                )
            within.extend(each.values() if isinstance(each, Mapping) else each)


class _Counter:
    """Counts each fragment wherever it is spread, and stops at the first maximum that is passed."""

    def __init__(self, outline: Outline, settings: Settings) -> None:
        self._fragments = outline.fragments
        self._settings = settings
        self.reached: set[str] = set()
        self._steps = self._fields = self._aliases = self._directives = self._duplicates = 0

    def count(self, definition: Definition, depth_max: int) -> None:
        """Everything that one definition selects."""
        settings = self._settings
        # The names in the selection that is being read, at each depth: comparing two of one name costs their square.
        seen: list[set[str]] = [set() for _ in range(depth_max + 2)]

        def visit(selection: Selection, depth: int) -> None:
            self._steps += 1
            self._directives += selection.directives
            if selection.spread:
                self.reached.add(selection.spread)
            if selection.name:
                if depth > depth_max:
                    _refuse(depth_max, "fields within each other")
                self._fields += 1
                self._aliases += selection.key != selection.name
                self._duplicates += selection.key in seen[depth]
                seen[depth].add(selection.key)
                if selection.below:
                    seen[depth + 1] = set()
            if self._aliases > settings.graphql_aliases_max:
                _refuse(settings.graphql_aliases_max, "aliases")
            if self._directives > settings.graphql_directives_max:
                _refuse(settings.graphql_directives_max, "directives")
            if self._duplicates > settings.graphql_duplicates_max:
                _refuse(settings.graphql_duplicates_max, "repeated fields")
            if self._fields > settings.graphql_fields_max:
                _refuse(settings.graphql_fields_max, "fields")
            if self._steps > 2 * settings.graphql_fields_max:  # a spread that leads to nothing costs as well
                _refuse(2 * settings.graphql_fields_max, "selections")

        self._directives += definition.directives
        opened(definition.below, self._fragments, visit)


def _refuse(most: int, what: str) -> NoReturn:
    raise DocumentTooComplex(f"A document has {most} {what} at most, its fragments opened.")
