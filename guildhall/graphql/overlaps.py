"""Fields that one answer's key stands for are compared pair by pair: how many pairs a document may cost.

graphql-core stops by itself after half a million units of work, which is more than a second; a few kilobytes of
repeated fields or fragments side by side come to that, whoever sends them.
"""

from typing import Any, ClassVar

from graphql import OverlappingFieldsCanBeMergedRule, SelectionSetNode, ValidationContext
from graphql.validation.validate import ValidationAbortedError

from guildhall.graphql.outline import DocumentTooComplex

COMPARISONS_MAX = 24_000
"""What comparing may come to, for all operations of a document together: some 32 ms.

Each pair of fields costs two, and so does each pair of fragments, also one that was compared before; two selections
cost one more for each name of the first. Tools give each part of a page a fragment of its own: 33 of 20 fields, side by
side, come to 11,700, and to 22,200 where ten of the fields are in all of them. The repeated fields that
`GRAPHQL_DUPLICATES_MAX` lets pass by default come to 10,100, with nothing selected below them.
"""

STRANGERS_COMPARISONS_MAX = 12_000
"""The same for callers who are not known: they have nothing to ask that tools write documents for."""


class OverlapsWithinLimit(OverlappingFieldsCanBeMergedRule):
    """graphql-core's rule with a maximum of our own; raises DocumentTooComplex above it."""

    comparisons_max: ClassVar[int] = COMPARISONS_MAX

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = self.comparisons_max

    def enter_selection_set(self, selection_set: SelectionSetNode, key: Any, parent: Any, *rest: Any) -> None:  # noqa: ANN401
        """As graphql-core does, up to the maximum."""
        try:
            super().enter_selection_set(selection_set, key, parent, *rest)
        except ValidationAbortedError as error:
            if self.rule_context.remaining_complexity_budget >= 0:
                raise  # enough has been found wrong
            told = "This document repeats too many fields, or spreads too many fragments side by side: repeat fewer."
            raise DocumentTooComplex(told) from error


class StrangersOverlapsWithinLimit(OverlapsWithinLimit):
    """The same with the maximum of callers who are not known."""

    comparisons_max = STRANGERS_COMPARISONS_MAX
