"""How a GraphQL type says where its fields come from, and what is made from that: loaders, schema, answers."""
