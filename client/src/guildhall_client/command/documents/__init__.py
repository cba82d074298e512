"""The GraphQL documents that the command sends; `make trusted-documents` puts them into the servers' manifest."""
