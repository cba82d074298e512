"""Who can act: people and service accounts, who hold roles; jobs and the platform's own parts, who do not."""

from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class ActorKind(StrEnum):
    """What kind of caller acts; a job acts on behalf of whoever submitted it."""

    USER = "USER"
    SERVICE_ACCOUNT = "SERVICE_ACCOUNT"
    JOB = "JOB"
    SYSTEM = "SYSTEM"


class Subject(NamedTuple):
    """One caller as the policy knows them."""

    kind: ActorKind
    id: UUID
