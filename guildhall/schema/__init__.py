"""The root that composes the packages' GraphQL types, and what names types of all of them."""
