"""All declarations of the marketplace, for the root."""

from typing import Any

from marketplace.graphql import finance, operations, programmes, wallets

TYPES: list[type[Any]] = [*programmes.TYPES, *wallets.TYPES, *finance.TYPES, *operations.TYPES]
