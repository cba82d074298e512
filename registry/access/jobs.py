"""What a job may read: the inputs of its attempt, and its package. The scheduler, above us, knows them.

So the process is started with a `JobInputs`, which holds the scheduler's answer to one question.
"""

from dataclasses import dataclass
from typing import Protocol

from guildhall.auth.actor import Actor
from guildhall.db.transaction import ReadSession
from registry.artifacts.owners import OwnerRef


@dataclass(frozen=True, kw_only=True)
class JobInput:
    """An owner of files that was staged for the job, and the purpose that the job's owner stated for it."""

    purpose: str | None = None


class FindJobInput(Protocol):
    """Whether the files of this owner are an input, or the package, of the attempt in `actor.job`; None where not.

    The attempt must still be running. The answer is no permission yet: the access grant is asked about after it.
    """

    async def __call__(self, session: ReadSession, actor: Actor, owner: OwnerRef, /) -> JobInput | None:
        """Look it up in the session given."""


@dataclass(frozen=True)
class JobInputs:
    """The service by which routes find the scheduler's answer."""

    find: FindJobInput
