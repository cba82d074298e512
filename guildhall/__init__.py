"""What the registry, marketplace and scheduler share: settings, database, errors, clock, access, audit, GraphQL."""
