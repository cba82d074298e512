"""What the owner of files has to answer, so that uploads work alike for data sets, models and packages."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from registry.artifacts.tables import OwnerKind


@dataclass(frozen=True)
class OwnerRef:
    """One owner of files."""

    kind: OwnerKind
    id: UUID


@dataclass(frozen=True, kw_only=True)
class UploadRight:
    """Why an actor may upload to an owner: what the audit event about it names."""

    permission: str
    team_id: UUID
    resources: tuple[ResourceRef, ...]


class FinishOwner(Protocol):
    """Called in the transaction that stores the last file: moves the owner out of its draft state. Called once."""

    async def __call__(
        self, session: WriteSession, actor: Actor, owner_id: UUID, /, *, at: datetime, new_id: IdSource
    ) -> None:
        """Update the owner's row; the upload has been audited by the caller."""


@dataclass(frozen=True, kw_only=True)
class UploadOwner:
    """One kind of owner. `require_writer` raises NotFound or Forbidden for an actor who may not upload to it."""

    require_writer: Callable[[ReadSession, Actor, UUID], Awaitable[UploadRight]]
    finish: FinishOwner


UploadOwners = Mapping[OwnerKind, UploadOwner]
