"""May these bytes be read, by whom, for what, now? One rule for downloads, job admission, staging and `viewerAccess`.

The rule is `decide`, pure over what `facts.py` loaded. PUBLIC goes to everybody who is signed in, INTERNAL to whoever
belongs to a team, both within the visibility. CONFIDENTIAL and RESTRICTED go by access grant alone, whoever owns them.
A model version is guarded by what it was made from: a grant to itself opens it, or grants to all of its sources do.
A grant that was narrowed to columns or rows opens files with a filter, which whoever lets bytes out applies.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.db.transaction import ReadSession
from registry.access.facts import Grant, Guarded, GuardedSource, load_grants, load_guarded
from registry.datasets.tables import Classification, Visibility
from registry.minimisation.filters import DataFilter

BY_ROLE = frozenset({Classification.PUBLIC, Classification.INTERNAL})
READ_PERMISSIONS = {
    "Dataset": "registry:dataset:read",
    "DatasetVersion": "registry:dataset:read",
    "ModelVersion": "registry:model:read",
}
"""By the type of the resource; what the audit record calls the act of reading."""


@dataclass(frozen=True)
class Reason:
    """Why not: a code for programs and a sentence that says what to do."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class AccessDecision:
    """Whether, and under which grant and for which purpose; `ends_at` is when that grant ends at the latest.

    `team_id` is the team that the grant is for. With `limits` only what they leave of the files may leave.
    """

    allowed: bool
    grant_id: UUID | None = None
    team_id: UUID | None = None
    purpose: str | None = None
    justification: str | None = None
    ends_at: datetime | None = None
    limits: DataFilter | None = None
    reason: Reason | None = None


def reading_teams(actor: Actor, permission: str = "registry:dataset:read") -> frozenset[UUID]:
    """The teams for which the caller may read: those that they belong to with a role that says so.

    An organisation-wide role opens no team's grants.
    """
    return frozenset(team for team in actor.team_ids if actor.may(permission, team))


def reading_person(actor: Actor, permission: str) -> UUID | None:
    """Whose own grants count: the person's behind the call, but not by a token limited to roles that do not read."""
    return actor.user_id if actor.shows_token_for(permission) else None


async def decide_read(
    session: ReadSession,
    *,
    actor_user_id: UUID | None,
    team_ids: Collection[UUID],
    resource: ResourceRef,
    purpose: str | None,
    at: datetime,
) -> AccessDecision:
    """Decide for one resource: a Dataset, DatasetVersion or ModelVersion.

    `team_ids` are the teams on whose behalf is read (`reading_teams` of a caller, the one team of a job). Without a
    purpose any that a grant names will do, and the answer says which. Whether the caller may know of the resource at
    all is asked before; of one that does not exist the answer is NOT_FOUND.
    """
    decisions = await decide_reads(
        session, actor_user_id=actor_user_id, team_ids=team_ids, resources=[resource], purpose=purpose, at=at
    )
    return decisions[resource]


async def decide_reads(
    session: ReadSession,
    *,
    actor_user_id: UUID | None,
    team_ids: Collection[UUID],
    resources: Sequence[ResourceRef],
    purpose: str | None,
    at: datetime,
) -> dict[ResourceRef, AccessDecision]:
    """`decide_read` for many resources, in as many statements as for one."""
    reader = Reader(actor_user_id, frozenset(team_ids))
    decisions = await decide_each(session, [ReadQuestion(reader, each, purpose) for each in resources], at=at)
    return dict(zip(resources, decisions, strict=True))


class Reader(NamedTuple):
    """On whose behalf is read: a person, where there is one, and teams."""

    user_id: UUID | None
    team_ids: frozenset[UUID]


class ReadQuestion(NamedTuple):
    """What `decide_read` is asked for one reader."""

    reader: Reader
    resource: ResourceRef
    purpose: str | None


async def decide_each(session: ReadSession, questions: Sequence[ReadQuestion], *, at: datetime) -> list[AccessDecision]:
    """Decide for several readers, each question for itself: one statement for each reader of what takes a grant."""
    guarded = await load_guarded(session, dict.fromkeys(asked.resource for asked in questions))
    keys: dict[Reader, set[UUID]] = {}
    for asked in questions:
        facts = guarded.get(asked.resource)
        if facts is not None and facts.classification not in BY_ROLE:
            keys.setdefault(asked.reader, set()).update(facts.grant_keys)
    grants = {
        reader: await load_grants(
            session, actor_user_id=reader.user_id, team_ids=reader.team_ids, resource_ids=resource_ids
        )
        for reader, resource_ids in keys.items()
    }
    return [
        decide(
            guarded.get(asked.resource), grants.get(asked.reader, ()), team_ids=asked.reader.team_ids,
            purpose=asked.purpose, at=at,
        )
        for asked in questions
    ]  # fmt: skip


def decide(
    facts: Guarded | None, grants: Sequence[Grant], *, team_ids: Collection[UUID], purpose: str | None, at: datetime
) -> AccessDecision:
    """The rule itself. `grants` are those of the reader and their teams, ended ones included."""
    if facts is None:
        return _refused("NOT_FOUND", "There is no such data.")
    if not facts.ready:
        return _refused("NOT_READY", "Its files are not complete yet.")
    if facts.retention_ends_on is not None and at.date() > facts.retention_ends_on:
        return _refused("RETENTION_ENDED", f"It may not be kept or read after {facts.retention_ends_on}.")
    if purpose is not None and facts.permitted_purposes is not None and purpose not in facts.permitted_purposes:
        return _refused("PURPOSE_NOT_PERMITTED", f"It may not be used for {purpose}, but for {_named_purposes(facts)}.")
    if facts.classification in BY_ROLE:
        return _by_role(facts, team_ids, purpose)
    return _by_grant(facts, grants, purpose, at)


def how_to_ask(facts: Guarded) -> str:
    """The sentence of each refusal of guarded data."""
    return f"Ask {_named_stewards(facts)} with requestAccess, for {_named_purposes(facts)}."


def _by_role(facts: Guarded, team_ids: Collection[UUID], purpose: str | None) -> AccessDecision:
    if facts.visibility == Visibility.TEAM and facts.team_id not in team_ids:
        return _refused("ROLE_REQUIRED", "It goes to its own team alone. Ask an administrator for a role in that team.")
    if facts.classification == Classification.INTERNAL and not team_ids:
        return _refused(
            "ROLE_REQUIRED", "It goes to members of a team. Ask an administrator for the role contributor in one."
        )
    return AccessDecision(allowed=True, purpose=purpose)


def _by_grant(facts: Guarded, grants: Sequence[Grant], purpose: str | None, at: datetime) -> AccessDecision:
    permitted = [grant for grant in grants if _permits(grant, facts)]
    live = [grant for grant in permitted if grant.is_live(at)]
    for wanted in _purposes_to_try(live, purpose):
        fitting = [grant for grant in live if grant.purpose in {None, wanted}]
        opening = _opening(facts, fitting)
        if opening:
            first = opening[0]
            return AccessDecision(
                allowed=True,
                grant_id=first.id,
                team_id=first.team_id,
                purpose=wanted,
                justification=first.justification,
                ends_at=first.valid_to,
                limits=first.limits if first.opens(facts.own_keys) else None,
            )
    return AccessDecision(allowed=False, reason=_why_not(facts, permitted, live, purpose, at))


def _opening(facts: Guarded, fitting: Sequence[Grant]) -> list[Grant]:
    """The grants that open the resource: of those for itself the most generous, else one for each source.

    The one that ends first comes first. None where they do not open all of it.
    """
    own = [grant for grant in fitting if grant.opens(facts.own_keys)]
    if own:
        return [max(own, key=lambda grant: (grant.generosity, grant.valid_to))]
    found = [_for_source(source, fitting) for source in facts.sources]
    opened = [grant for grant in found if grant is not None]
    return sorted(opened, key=lambda grant: grant.valid_to) if len(opened) == len(found) else []


def _for_source(source: GuardedSource, fitting: Iterable[Grant]) -> Grant | None:
    """A narrowed grant opens what was made from no more than it lets through; it opens no model of the whole data."""
    keys = frozenset({source.dataset_id, source.version_id})
    opening = [
        grant
        for grant in fitting
        if grant.opens(keys) and (grant.covers(source.columns) or grant.covers_readings(source.readings))
    ]
    return max(opening, key=lambda grant: grant.valid_to) if opening else None


def _permits(grant: Grant, facts: Guarded) -> bool:
    """A purpose that the data set no longer permits opens nothing, whatever was granted once."""
    return grant.purpose is None or facts.permitted_purposes is None or grant.purpose in facts.permitted_purposes


def _purposes_to_try(live: Iterable[Grant], purpose: str | None) -> list[str | None]:
    if purpose is not None:
        return [purpose]
    return [None, *sorted({grant.purpose for grant in live if grant.purpose is not None})]


def _why_not(
    facts: Guarded, permitted: Sequence[Grant], live: Sequence[Grant], purpose: str | None, at: datetime
) -> Reason:
    """The nearest miss, then how to ask."""
    ask = how_to_ask(facts)
    relevant = [grant for grant in live if grant.resource_ids & facts.grant_keys]
    if any(grant.limits is not None and grant.purpose in {None, purpose or grant.purpose} for grant in relevant):
        message = f"Your access grant is for some columns or rows only, and this was made from more of them. {ask}"
        return Reason("COLUMNS_NOT_GRANTED", message)
    other = sorted({grant.purpose for grant in relevant if grant.purpose not in {None, purpose}} - {None}, key=str)
    if purpose is not None and other:
        return Reason("PURPOSE_NOT_GRANTED", f"Your access grant is for {other[0]}, not for {purpose}. {ask}")
    if relevant:
        return Reason("SOURCES_NOT_GRANTED", f"You have access to some of the data that it was made from only. {ask}")
    ended = [grant for grant in permitted if not grant.is_live(at) and grant.resource_ids & facts.grant_keys]
    if ended:
        last = max(ended, key=lambda grant: grant.ends_at)
        word = "was withdrawn" if last.withdrawn_at is not None else "ended"
        return Reason("ACCESS_GRANT_ENDED", f"Your access grant {word} at {last.ends_at:%Y-%m-%d %H:%M} UTC. {ask}")
    return Reason("ACCESS_GRANT_REQUIRED", f"It is {facts.classification} and goes by access grant only. {ask}")


def _named_purposes(facts: Guarded) -> str:
    if facts.permitted_purposes is None:
        return "any purpose"
    if not facts.permitted_purposes:
        return "no purpose at all: its sources have none in common"
    named = ", ".join(sorted(facts.permitted_purposes))
    return f"the purpose {named}" if len(facts.permitted_purposes) == 1 else f"one of the purposes {named}"


def _named_stewards(facts: Guarded) -> str:
    if not facts.stewards:
        return "an administrator to name a steward, then ask"
    noun = "the steward" if len(facts.stewards) == 1 else "the stewards"
    return f"{noun} {', '.join(facts.stewards)}"


def _refused(code: str, message: str) -> AccessDecision:
    return AccessDecision(allowed=False, reason=Reason(code, message))
