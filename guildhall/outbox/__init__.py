"""Effects that start only after commit: rows written in the transaction that causes them, taken up under a lease."""
