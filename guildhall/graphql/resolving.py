"""What graphql-core's resolvers are given: the request with its loaders."""

from dataclasses import dataclass, field, fields
from typing import TypeAlias

from graphql import GraphQLResolveInfo

from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.context import Context
from guildhall.graphql.loaders import Loaders

Info: TypeAlias = "GraphQLResolveInfo[Resolving]"
"""What graphql-core gives a resolver; its `context` is ours."""


@dataclass(kw_only=True)
class Resolving(Context):
    """A request while its fields are resolved, by graphql-core or by a function of a compiled document."""

    loaders: Loaders = field(init=False)


def resolving(context: Context, catalogue: Catalogue) -> Resolving:
    """The request with loaders of its own, so that nothing outlives what its caller may see."""
    made = Resolving(**{each.name: getattr(context, each.name) for each in fields(Context)})
    made.loaders = Loaders(context, catalogue)
    return made
