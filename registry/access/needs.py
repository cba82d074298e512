"""Whether a request for access makes sense: each refusal says what to do instead of asking in vain."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select

from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import User
from guildhall.db.transaction import ReadSession
from guildhall.errors import Conflict, Invalid, InvalidInput, Problem
from registry.access.decision import BY_ROLE, decide
from registry.access.facts import Guarded, load_grants
from registry.access.tables import AccessBasis, AccessRequest, AccessRequestResource, AccessRequestState
from registry.datasets.tables import Classification, DatasetSteward


class AlreadyGranted(Conflict):
    """What was asked for is granted already, for at least as long."""

    code = "ALREADY_GRANTED"


class AlreadyRequested(Conflict):
    """The same request waits for a decision."""

    code = "ALREADY_REQUESTED"


class NobodyCanDecide(Invalid):
    """No person but the requester is a steward of everything that was asked for."""

    code = "NOBODY_CAN_DECIDE"


@dataclass(frozen=True)
class Reader:
    """Whom a grant is for: a team, or a person, with the teams whose grants they have anyway."""

    team_id: UUID | None
    user_id: UUID | None
    reads_for: frozenset[UUID] = frozenset()

    @property
    def team_ids(self) -> frozenset[UUID]:
        """All teams whose grants count for this reader."""
        return self.reads_for if self.team_id is None else frozenset({self.team_id})


def require_askable(
    resources: Sequence[ResourceRef], guarded: Mapping[ResourceRef, Guarded], *, purpose: str, field: str
) -> None:
    """Each resource must go by access grant at all, and permit the purpose."""
    problems = []
    for number, resource in enumerate(resources):
        facts = guarded[resource]
        if facts.classification in BY_ROLE:
            message = f"It is {facts.classification} and goes by role: no access grant is needed to read it."
            problems.append(Problem("ACCESS_NOT_NEEDED", message, f"{field}[{number}]"))
        elif facts.permitted_purposes is not None and purpose not in facts.permitted_purposes:
            permitted = ", ".join(sorted(facts.permitted_purposes)) or "no purpose"
            message = f"It may not be used for {purpose}. It permits {permitted}."
            problems.append(Problem("PURPOSE_NOT_PERMITTED", message, "purpose"))
    if problems:
        raise InvalidInput(problems)


async def require_not_granted(
    session: ReadSession,
    reader: Reader,
    guarded: Collection[Guarded],
    *,
    purpose: str,
    at: datetime,
    until: datetime,
) -> None:
    """Raises AlreadyGranted where grants cover everything for the purpose until then; for longer it is a renewal.

    A grant that was narrowed to columns or rows covers less than what is asked for.
    """
    keys = {key for facts in guarded for key in facts.grant_keys}
    grants = await load_grants(session, actor_user_id=reader.user_id, team_ids=reader.team_ids, resource_ids=keys)
    decisions = [decide(facts, grants, team_ids=reader.team_ids, purpose=purpose, at=at) for facts in guarded]
    whole = [decision for decision in decisions if decision.allowed and decision.limits is None]
    ends = [decision.ends_at for decision in whole if decision.ends_at is not None]
    if len(ends) < len(decisions) or min(ends) < until:
        return
    raise AlreadyGranted(
        f"This is granted already, until {min(ends):%Y-%m-%d %H:%M} UTC. Ask for longer to renew it.",
        field="resourceIds",
        details={"validTo": min(ends).isoformat()},
    )


async def require_not_asked(
    session: ReadSession, reader: Reader, resources: Sequence[ResourceRef], *, purpose: str
) -> None:
    """Raises AlreadyRequested where a pending request names the same beneficiary, purpose and resources."""
    statement = (
        select(AccessRequest.id, func.array_agg(AccessRequestResource.resource_id))
        .join(AccessRequestResource, AccessRequestResource.request_id == AccessRequest.id)
        .where(
            AccessRequest.state == AccessRequestState.PENDING,
            AccessRequest.purpose == purpose,
            AccessRequest.beneficiary_team_id.is_not_distinct_from(reader.team_id),
            AccessRequest.beneficiary_user_id.is_not_distinct_from(reader.user_id),
        )
        .group_by(AccessRequest.id)
    )
    wanted = {resource.id for resource in resources}
    for _, ids in await session.execute(statement):
        if set(ids) == wanted:
            raise AlreadyRequested("The same request waits for the stewards' decision already.", field="resourceIds")


async def require_somebody_decides(
    session: ReadSession, concerned: Collection[UUID], dataset_ids: Collection[UUID], *, people: int
) -> None:
    """Raises NobodyCanDecide unless so many people, none of those concerned, are stewards of all the data sets."""
    statement = (
        select(DatasetSteward.user_id)
        .join(User, User.id == DatasetSteward.user_id)
        .where(DatasetSteward.dataset_id.in_(sorted(dataset_ids)))
        .where(User.deactivated_at.is_(None), User.id.not_in(sorted(concerned)))
        .group_by(DatasetSteward.user_id)
        .having(func.count() == len(dataset_ids))
        .limit(people)
    )
    found = (await session.scalars(statement)).all() if dataset_ids else ()
    if len(found) < people:
        who = (
            "No one person but you is a steward" if people == 1 else "Restricted data needs two people who are stewards"
        )
        raise NobodyCanDecide(
            f"{who} of everything named here. Ask for each data set by itself, "
            "or ask an administrator to name a further steward.",
            field="resourceIds",
        )


def stewards_needed(basis: str, guarded: Collection[Guarded]) -> int:
    """Two for RESTRICTED data; for the owning team's own request the registrar is the first person already."""
    restricted = any(facts.classification == Classification.RESTRICTED for facts in guarded)
    return 2 if restricted and basis == AccessBasis.REQUEST else 1


def ends_at(guarded: Collection[Guarded], at: datetime, duration_seconds: int) -> datetime:
    """When access from `at` on would end: after the duration, or with the last day of the shortest retention."""
    ends = [at + timedelta(seconds=duration_seconds)]
    for facts in guarded:
        if facts.retention_ends_on is not None:
            day_after = facts.retention_ends_on + timedelta(days=1)
            ends.append(datetime(day_after.year, day_after.month, day_after.day, tzinfo=at.tzinfo))
    return min(ends)
