"""Ledger, programmes and allocations, prices and quotes: what compute costs, and who pays for it."""
