"""What a job may read: the inputs of its attempt, and its package. The scheduler, above us, knows them.

So the process is started with a `JobInputs`, which holds the scheduler's answer to one question.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from registry.artifacts.owners import OwnerRef


@dataclass(frozen=True, kw_only=True)
class JobInput:
    """An owner of files that was staged for the job, and the purpose that the job's owner stated for it."""

    purpose: str | None = None


class FindJobInput(Protocol):
    """Whether the files of this owner are an input, or the package, of the attempt in `actor.job`; None where not.

    The attempt must still be running. The answer is no permission yet: the access grant is asked about after it.
    Raises AccessRefused where nobody answers any more for what the attempt reads.
    """

    async def __call__(self, session: ReadSession, actor: Actor, owner: OwnerRef, /) -> JobInput | None:
        """Look it up in the session given."""


class NoteOpening(Protocol):
    """Write that the attempt in `actor.job` reads the input under this grant, or by role, in the intent's transaction.

    What came of the run is guarded by every right that opened its inputs, not only by the first.
    """

    async def __call__(
        self,
        session: WriteSession,
        actor: Actor,
        resource: ResourceRef,
        grant_id: UUID | None,
        /,
        *,
        at: datetime,
        new_id: IdSource,
    ) -> None:
        """Write it in the session given, once for each right."""


@dataclass(frozen=True)
class JobInputs:
    """The service by which routes find the scheduler's answer, and tell it what was read."""

    find: FindJobInput
    note: NoteOpening
