"""How a subscription is declared: a function from its arguments to what is followed, beside the type that it shows."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from guildhall.graphql import selection
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.declarations import FieldDeclaration
from guildhall.graphql.record import Record
from guildhall.graphql.resolving import Info
from guildhall.graphql.sources import Subscription
from guildhall.graphql.subscriptions.following import Following

Follow = Callable[..., Following | Awaitable[Following]]


def subscription(target: str, *, permission: str, description: str | None = None) -> Callable[[Follow], Any]:
    """Decorates `function(context, wanted, *, …arguments)`, which gives the `Following`.

    It stands in `@extend("Subscription")`. `wanted` are the names of the fields selected of the target, so that nothing
    is read that nobody sees. The target is an `object_type` without a table, with a field `cursor`; an argument
    `after`, a cursor, is added by itself.
    """

    def declare(function: Follow) -> FieldDeclaration:
        return FieldDeclaration(Subscription(function, target), permission, description or function.__doc__)

    return declare


class Opened:
    """The source stream of one operation, as graphql-core wants one. Nobody iterates it: `following` is looked at."""

    def __init__(self, field: str, target: str, following: Following, after: str | None) -> None:
        self.field = field
        self.target = target
        self.following = following
        self.after = after

    def __aiter__(self) -> "Opened":
        """Only there to be recognised as a stream."""
        return self

    async def __anext__(self) -> None:
        """Nothing is read this way."""
        raise StopAsyncIteration

    def root(self, values: Mapping[str, Any]) -> Mapping[str, Record]:
        """The root value of one change."""
        return {self.field: Record(self.target, values)}


def make_subscribe(
    field: FieldDeclaration, convert: Callable[[Mapping[str, Any]], dict[str, Any]], catalogue: Catalogue
) -> Callable[..., Awaitable[Opened]]:
    """graphql-core's `subscribe` of the field."""
    source = field.source
    assert isinstance(source, Subscription)
    assert "cursor" in catalogue.types[source.target].fields, f"{source.target} has no cursor to resume from"

    async def subscribe(_root: object, info: Info, after: str | None = None, **given: Any) -> Opened:  # noqa: ANN401
        wanted = frozenset(selection.names(info.field_nodes, info, source.target))
        following = source.function(info.context, wanted, **convert(given))
        if isinstance(following, Awaitable):
            following = await following
        return Opened(field.graphql_name, source.target, following, after)

    return subscribe


def resolve_change(name: str) -> Callable[[Mapping[str, Record], Info], Record]:
    """graphql-core's `resolve` of the field, for one change; it takes the arguments again, and has no use for them."""

    def resolve(root: Mapping[str, Record], _info: Info, **_given: Any) -> Record:  # noqa: ANN401
        return root[name]

    return resolve
