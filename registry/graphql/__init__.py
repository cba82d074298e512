"""The registry's types, queries and mutations in GraphQL."""
