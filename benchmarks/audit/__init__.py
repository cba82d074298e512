"""What the record costs, beside the same server without it, a chain of hashes in the row, and a verifier of others."""
