"""Fields that one answer's key stands for are compared pair by pair: how many pairs a document may cost.

graphql-core stops by itself after half a million units of work, which is more than a second; a few kilobytes of
repeated fields or fragments side by side come to that, whoever sends them.
"""

from typing import Any

from graphql import OverlappingFieldsCanBeMergedRule, SelectionSetNode, ValidationContext
from graphql.validation.validate import ValidationAbortedError

from guildhall.graphql.outline import DocumentTooComplex

COMPARISONS_MAX = 12_000
"""What comparing may come to, two for each pair of fields and one for each pair of fragments: some 20 ms.

The repeated fields that `GRAPHQL_DUPLICATES_MAX` lets pass by default come to 10,100, with nothing selected below them.
"""


class OverlapsWithinLimit(OverlappingFieldsCanBeMergedRule):
    """graphql-core's rule with a maximum of our own; raises DocumentTooComplex above it."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = COMPARISONS_MAX

    def enter_selection_set(self, selection_set: SelectionSetNode, key: Any, parent: Any, *rest: Any) -> None:  # noqa: ANN401
        """As graphql-core does, up to the maximum."""
        try:
            super().enter_selection_set(selection_set, key, parent, *rest)
        except ValidationAbortedError as error:
            if self.rule_context.remaining_complexity_budget >= 0:
                raise  # enough has been found wrong
            told = "This document repeats too many fields, or spreads too many fragments side by side: repeat fewer."
            raise DocumentTooComplex(told) from error
