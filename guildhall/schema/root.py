"""One schema of all packages' declarations; whoever executes or prints it asks here."""

from functools import cache
from typing import Any

from guildhall.graphql import organisation
from guildhall.graphql.compose import Composed, compose
from guildhall.inbox.graphql.fields import TYPES as INBOX
from guildhall.schema import access, audit, configuration, explaining, governing, groups, sessions, tokens, viewer
from marketplace.graphql.fields import TYPES as MARKETPLACE
from registry.graphql.fields import TYPES as REGISTRY
from scheduler.graphql.fields import TYPES as SCHEDULER

OWN = [
    *organisation.TYPES,
    *viewer.TYPES,
    *tokens.TYPES,
    *sessions.TYPES,
    *groups.TYPES,
    *audit.TYPES,
    *configuration.TYPES,
    *access.TYPES,
    *governing.TYPES,
]


def declarations() -> list[type[Any]]:
    """Every decorated class."""
    explained = explaining.declare_explaining(lambda: composed_schema().catalogue.types)
    return [*OWN, *INBOX, *explained, *REGISTRY, *MARKETPLACE, *SCHEDULER]


@cache
def composed_schema() -> Composed:
    """The schema of this program, made once a process."""
    return compose(declarations())
