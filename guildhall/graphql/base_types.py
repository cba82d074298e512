"""The types that every schema has: the three roots to be extended, and the parts of connections and payloads."""

from guildhall.graphql.declarations import FieldDeclaration
from guildhall.graphql.declare import PUBLIC, column, object_type
from guildhall.graphql.sources import NodeById


@object_type("Query", permission=PUBLIC)
class Query:
    """What can be read."""

    node = FieldDeclaration(
        NodeById(), "SIGNED_IN", "Any object by its global id; null where there is none for the caller."
    )


@object_type("Mutation", permission=PUBLIC)
class Mutation:
    """What can be done; each takes one input with an optional idempotency key."""


@object_type("Subscription", permission=PUBLIC)
class Subscription:
    """What can be followed: over a WebSocket (graphql-transport-ws) or as server-sent events."""


@object_type("PageInfo")
class PageInfo:
    """Where a page stands in its list."""

    has_next_page: bool
    has_previous_page: bool = column("has_previous_page", description="Always false: lists are paged forward only.")
    start_cursor: str | None
    end_cursor: str | None


@object_type("Count")
class Count:
    """How many; not exact where counting stopped at a maximum."""

    value: int
    exact: bool


@object_type("InputError")
class InputError:
    """One thing that the caller can mend: `field` is the path in the input, `hint` what to do next."""

    code: str
    message: str
    field: str | None
    hint: str | None


@object_type("Reason")
class Reason:
    """Why something is as it is: a code for programs, a sentence for people."""

    code: str
    message: str
