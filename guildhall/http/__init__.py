"""The edge: GraphQL over HTTP, GraphiQL, health, metrics, the landing page, and who is calling."""
