"""Writing the audit record. `record` is called by the domain function, in its transaction: no record, no act."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.personal import Commitment, commit_to
from guildhall.audit.tables import Outcome
from guildhall.audit.writing import PERSONAL, execute, insertion_of, secret_of
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused
from guildhall.auth.permissions import permission_named
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError

TEXT_CHARACTERS_MAX = 2_000


class Facts(TypedDict, total=False):
    """What an event may say beside who did what, when; `compose_event` has the meaning of each."""

    resources: Sequence[ResourceRef]
    outcome: Outcome
    team_id: UUID | None
    purpose: str | None
    justification: str | None
    access_grant_id: UUID | None
    rows: int | None
    bytes: int | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    reason: GuildhallError | None
    personal: Mapping[UUID, Mapping[str, Any]]


async def record(
    session: AsyncSession, actor: Actor, *, action: str, at: datetime, new_id: IdSource, **facts: Unpack[Facts]
) -> UUID:
    """Add one event to the caller's transaction, in one INSERT, and return its id."""
    event = compose_event(actor, action=action, at=at, new_id=new_id, **facts)
    await add_events(session, [event])
    event_id: UUID = event["id"]
    return event_id


async def add_events(session: AsyncSession, events: Sequence[Mapping[str, Any]]) -> None:
    """Add composed events to the caller's transaction, all in one INSERT."""
    if events:
        await execute(session, insertion_of(events, secret_of(session.info)))


def compose_event(
    actor: Actor, *, action: str, at: datetime, new_id: IdSource, **facts: Unpack[Facts]
) -> dict[str, Any]:
    """The values of one event; nothing is recorded before `add_events`.

    `action` is the permission that was used. Data that leaves is recorded as STARTED here, and concluded afterwards by
    `guildhall.audit.outcomes.conclude`. `before` and `after` hold what a change changed, as `as_json` can say it. For a
    version name its whole as well, see `ResourceRef`. `personal` is what the event says of persons (names, addresses),
    by the person's id; it can be erased, as can the caller's own address and justification.
    """
    outcome = facts.get("outcome", Outcome.ALLOWED)
    assert outcome in {Outcome.ALLOWED, Outcome.REFUSED, Outcome.STARTED}, "an outcome is written by `conclude`"
    resources = facts.get("resources", ())
    before, after = facts.get("before"), facts.get("after")
    personal = _personal_values(actor, facts)
    return {
        "id": new_id(),
        "act_at": at,
        "occurred_at": at,
        "actor_kind": actor.kind.value,
        "actor_id": actor.id,
        "on_behalf_of_id": actor.on_behalf_of,
        "team_id": facts.get("team_id"),
        "action": action,
        "permission_class": permission_named(action).permission_class.value,
        "outcome": outcome.value,
        "resource_types": [resource.type for resource in resources],
        "resource_ids": [resource.id for resource in resources],
        "purpose": facts.get("purpose"),
        "access_grant_id": facts.get("access_grant_id"),
        **reason_columns(facts.get("reason")),
        "request_id": actor.request.request_id,
        "client": None if actor.request.client is None else actor.request.client[:TEXT_CHARACTERS_MAX],
        "rows": facts.get("rows"),
        "bytes": facts.get("bytes"),
        "before": None if before is None else as_json(before),
        "after": None if after is None else as_json(after),
        "commitments": {person.hex: kept.digest.hex() for person, kept in personal.items()} or None,
        "concludes_id": None,
        PERSONAL: personal,
    }


def _personal_values(actor: Actor, facts: Facts) -> dict[UUID, Commitment]:
    """The caller's address and words, and what was said of others, each person under a salt of their own."""
    own = {"address": actor.request.address, "justification": facts.get("justification")}
    said = {person: as_json(content) for person, content in facts.get("personal", {}).items()}
    caller = actor.on_behalf_of or actor.id
    own = {name: value for name, value in own.items() if value is not None}
    if own:
        said[caller] = own | said.get(caller, {})
    return {person: commit_to(content) for person, content in said.items()}


async def record_refusal(database: Database, actor: Actor, error: Refused, *, at: datetime, new_id: IdSource) -> UUID:
    """Record a refusal in a transaction of its own, because that of the act was rolled back."""
    async with database.transaction() as session:
        return await record(
            session,
            actor,
            action=error.permission.name,
            resources=error.resources,
            outcome=Outcome.REFUSED,
            team_id=error.team_id,
            purpose=error.purpose,
            reason=error,
            at=at,
            new_id=new_id,
        )


def reason_columns(reason: GuildhallError | None) -> dict[str, str | None]:
    """Why it was refused or aborted, as the row has it."""
    if reason is None:
        return {"reason_code": None, "reason_message": None}
    return {"reason_code": reason.code, "reason_message": reason.message[:TEXT_CHARACTERS_MAX]}


def as_json(value: Any) -> Any:  # noqa: ANN401 -- whatever a change was about
    """The value as JSON can say it and JSONB gives it back unchanged; floats become text, because they would not."""
    if isinstance(value, Mapping):
        return {str(name): as_json(entry) for name, entry in value.items()}
    if isinstance(value, set | frozenset):
        return [as_json(entry) for entry in sorted(value)]
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    if is_dataclass(value) and not isinstance(value, type):
        return as_json(asdict(value))
    return _plain(value)


def _plain(value: object) -> str | int | bool | None:
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID | float | Decimal):
        return str(value)
    assert value is None or isinstance(value, str | int), f"an audit event cannot hold a {type(value).__name__}"
    return value
