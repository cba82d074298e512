"""From GraphQL documents to single PostgreSQL statements that return the JSON text of `data`."""
