"""The marketplace in GraphQL: programmes, wallets, prices, and the finance view."""
