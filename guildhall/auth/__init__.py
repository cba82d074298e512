"""Who is calling, what they may do, which rows they may see: subjects, roles, tokens, decisions without a query."""
