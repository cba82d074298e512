"""All declarations of the marketplace, for the root."""

from typing import Any

from marketplace.graphql import finance, operations, programmes, wallet_changes, wallets

TYPES: list[type[Any]] = [*programmes.TYPES, *wallets.TYPES, *wallet_changes.TYPES, *finance.TYPES, *operations.TYPES]
