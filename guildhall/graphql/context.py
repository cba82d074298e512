"""What a request carries: the caller, the database, time and ids, and what the process holds."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import ColumnElement

from guildhall.auth.actor import Actor
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database, WriteSession
from guildhall.errors import Unauthenticated
from guildhall.graphql.cursors import CursorSigner
from guildhall.settings import Settings

Visible: TypeAlias = Callable[[Actor], ColumnElement[bool]]
"""Which rows of a table exist for a caller, as SQL; the same rule for lists, counts, search and `node(id:)`."""

Service = TypeVar("Service")


class Services:
    """What the process holds besides the database (the artifact store, the signer of uploads), found by its type."""

    def __init__(self) -> None:
        self._held: dict[type[Any], Any] = {}

    def add(self, kind: type[Service], service: Service) -> "Services":
        """Hold a service under its type; returns itself, so that calls can be chained."""
        self._held[kind] = service
        return self

    def get(self, kind: type[Service]) -> Service:
        """The service of that type; asking for one that the process was not given is a programmer's mistake."""
        assert kind in self._held, f"this process was started without a {kind.__name__}"
        held: Service = self._held[kind]
        return held


@dataclass(kw_only=True)
class Context:
    """One request. `at` is its one moment: everything that it writes or compares happens then."""

    database: Database
    actor_or_none: Actor | None
    clock: Clock
    new_id: IdSource
    settings: Settings
    services: Services
    signer: CursorSigner
    at: datetime
    request_id: str = ""

    @property
    def actor(self) -> Actor:
        """The caller; raises Unauthenticated for an anonymous one."""
        if self.actor_or_none is None:
            raise Unauthenticated("Sign in first: send a token as `Authorization: Bearer …`.")
        return self.actor_or_none


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a mutation works with, inside its one transaction; `prepared` is what its `prepare` returned before it."""

    session: WriteSession
    actor: Actor
    at: datetime
    new_id: IdSource
    services: Services
    settings: Settings
    request_id: str
    prepared: Any = None
