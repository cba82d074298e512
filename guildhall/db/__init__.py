"""PostgreSQL: the engine, transactions, row locks, notices, and the embedded server of a laptop."""
