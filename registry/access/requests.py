"""Asking for access: what, for whom, for what purpose and how long; and a clear answer where nothing is to be asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Invalid, InvalidInput, LimitExceeded, Problem
from registry.access.decision import reading_teams
from registry.access.facts import load_guarded
from registry.access.naming import KIND_OF, require_visible
from registry.access.needs import (
    Reader,
    require_askable,
    require_not_asked,
    require_not_granted,
    require_somebody_decides,
    stewards_needed,
)
from registry.access.tables import (
    AccessBasis,
    AccessRequest,
    AccessRequestResource,
    AccessRequestSource,
    AccessRequestState,
)
from registry.access.telling import tell_asked
from registry.people import find_people
from registry.purposes.lookup import require_purpose
from registry.teams import find_team
from registry.texts import require_text

REQUEST = "registry:access:request"
RESOURCES_MAX = 50
DURATION_SECONDS_MIN = 60
DURATION_SECONDS_MAX = 366 * 24 * 60 * 60
JUSTIFICATION_CHARACTERS_MAX = 5_000


class PersonRequired(Invalid):
    """A program cannot justify itself."""

    code = "PERSON_REQUIRED"


class InvalidDuration(Invalid):
    """A duration that is too short, or longer than access may last without a new decision."""

    code = "INVALID_DURATION"


class TooManyResources(LimitExceeded):
    """More resources than one decision should cover."""

    code = "TOO_MANY_RESOURCES"


@dataclass(frozen=True, kw_only=True)
class Beneficiary:
    """Who is to read: the members of a team by its name, or one person by address. Exactly one of the two."""

    team: str | None = None
    email: str | None = None


async def request_access(
    session: WriteSession,
    actor: Actor,
    *,
    resources: Sequence[ResourceRef],
    beneficiary: Beneficiary,
    purpose: str,
    justification: str,
    duration_seconds: int,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Write the request and return its id; whoever is a steward of everything it touches finds it in their queue.

    Raises InvalidInput about what the caller cannot see, what goes by role or does not permit the purpose;
    AlreadyGranted, AlreadyRequested, NobodyCanDecide, PersonRequired, InvalidDuration.
    """
    require(actor, REQUEST, team_id=None)
    if actor.kind is not ActorKind.USER:
        raise PersonRequired("Only a person can ask for access: somebody has to answer for it.")
    require_duration(duration_seconds, field="durationSeconds")
    text = require_text(justification, "justification", characters_max=JUSTIFICATION_CHARACTERS_MAX)
    named = _require_resources(resources)
    await require_visible(session, actor, named, field="resourceIds")
    await require_purpose(session, purpose, field="purpose")
    guarded = await load_guarded(session, named)
    require_askable(named, guarded, purpose=purpose, field="resourceIds")
    reader = await _find_reader(session, actor, beneficiary)
    until = at + timedelta(seconds=duration_seconds)
    await require_not_granted(session, reader, guarded.values(), purpose=purpose, at=at, until=until)
    await require_not_asked(session, reader, named, purpose=purpose)
    dataset_ids = frozenset[UUID]().union(*(facts.deciding_datasets for facts in guarded.values()))
    concerned = {actor.id} if reader.user_id is None else {actor.id, reader.user_id}
    people = stewards_needed(AccessBasis.REQUEST, guarded.values())
    await require_somebody_decides(session, concerned, dataset_ids, people=people)
    request = AccessRequest(
        id=new_id(),
        basis=AccessBasis.REQUEST,
        requester_id=actor.id,
        beneficiary_team_id=reader.team_id,
        beneficiary_user_id=reader.user_id,
        purpose=purpose,
        justification=text,
        duration_seconds=duration_seconds,
        state=AccessRequestState.PENDING,
        created_at=at,
    )
    await _write(session, request, named, dataset_ids)
    await record(
        session,
        actor,
        action=REQUEST,
        team_id=reader.team_id,
        resources=[*named, *(ResourceRef("Dataset", dataset_id) for dataset_id in sorted(dataset_ids))],
        purpose=purpose,
        justification=text,
        after={"accessRequestId": request.id, "durationSeconds": duration_seconds},
        at=at,
        new_id=new_id,
    )
    await tell_asked(session, request, named, dataset_ids, at=at, new_id=new_id)
    return request.id


def require_duration(seconds: int, *, field: str) -> None:
    """Raises InvalidDuration outside of a minute to a year."""
    if not DURATION_SECONDS_MIN <= seconds <= DURATION_SECONDS_MAX:
        raise InvalidDuration(
            f"{seconds} seconds cannot be a duration of access: it must be from {DURATION_SECONDS_MIN} "
            f"to {DURATION_SECONDS_MAX} (a year).",
            field=field,
        )


def _require_resources(resources: Sequence[ResourceRef]) -> list[ResourceRef]:
    named = list(dict.fromkeys(resources))
    if not named:
        raise InvalidInput([Problem("REQUIRED", "Name at least one data set or version.", "resourceIds")])
    if len(named) > RESOURCES_MAX:
        raise TooManyResources(f"{len(named)} resources are more than the {RESOURCES_MAX} of one request.")
    wrong = [number for number, resource in enumerate(named) if resource.type not in KIND_OF]
    if wrong:
        message = "Access is asked for data sets, versions of data sets and model versions."
        raise InvalidInput([Problem("WRONG_KIND", message, f"resourceIds[{number}]") for number in wrong])
    return named


async def _find_reader(session: ReadSession, actor: Actor, beneficiary: Beneficiary) -> Reader:
    assert (beneficiary.team is None) != (beneficiary.email is None), "the input is one of the two"
    if beneficiary.team is not None:
        return Reader(await find_team(session, beneficiary.team, field="beneficiary.team"), None)
    (user_id,) = await find_people(session, [beneficiary.email or ""], field="beneficiary.email")
    return Reader(None, user_id, reading_teams(actor) if user_id == actor.id else frozenset())


async def _write(
    session: WriteSession, request: AccessRequest, named: Sequence[ResourceRef], dataset_ids: frozenset[UUID]
) -> None:
    session.add(request)
    await session.flush()
    resources = [
        {"request_id": request.id, "resource_kind": KIND_OF[resource.type], "resource_id": resource.id}
        for resource in named
    ]
    await session.execute(insert(AccessRequestResource), resources)
    sources = [{"request_id": request.id, "dataset_id": dataset_id} for dataset_id in sorted(dataset_ids)]
    await session.execute(insert(AccessRequestSource), sources)
