"""Money through the product's own calls, beside a function without checks and clients that send four statements."""
