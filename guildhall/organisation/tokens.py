"""Issuing and ending tokens, each in the audit record. The text of a token exists once, in the answer to issuing it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import add_events, as_json, compose_event
from guildhall.auth.actor import Actor, JobClaims
from guildhall.auth.authorize import PermissionRefused, require
from guildhall.auth.networks import networks_of
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import ServiceAccount, Token, User
from guildhall.auth.tokens import SHOWN_CHARACTERS, TokenOrigin, hash_token, make_token
from guildhall.clock import IdSource
from guildhall.db.among import among
from guildhall.db.announcing import announce_change
from guildhall.errors import Invalid, NotFound
from guildhall.organisation.giving import (
    ESCALATE,
    Emergency,
    emergency_behind,
    emergency_of_token,
    require_held,
    roles_held,
)
from guildhall.organisation.names import bindable_roles

ISSUE = "guildhall:token:issue"
REVOKE = "guildhall:token:revoke"
TOPIC = "token"
"""What an open connection follows: that of its token."""
TOKEN_DAYS_MAX = 366
LABEL_CHARACTERS_MAX = 200
OVERLAP_MAX = timedelta(days=30)

_RESOURCE_TYPES = {ActorKind.USER: "User", ActorKind.SERVICE_ACCOUNT: "ServiceAccount", ActorKind.JOB: "Job"}


class InvalidTokenRequest(Invalid):
    """A token that would not be known later, or would last too long."""

    code = "INVALID_TOKEN_REQUEST"


class PeopleSignIn(Invalid):
    """A token for a person, where people sign in at an issuer."""

    code = "PEOPLE_SIGN_IN"


class IssuedToken(NamedTuple):
    """A new token: its id, and the one time that its text can be read."""

    id: UUID
    text: str


async def issue_token(
    session: AsyncSession,
    actor: Actor,
    *,
    subject_kind: ActorKind,
    subject_id: UUID,
    label: str,
    expires_at: datetime,
    at: datetime,
    new_id: IdSource,
    roles: Sequence[str] | None = None,
    networks: Sequence[str] | None = None,
    issuer: str | None = None,
) -> IssuedToken:
    """A token for a user or a service account, limited to some of its roles and to callers in networks, if so wished.

    Callers may make tokens for themselves, but not with a limited one; for others it takes `guildhall:token:issue`, for
    a service account in its team, and to hold what the token will allow. In an emergency it ends with that. Where
    people sign in at an `issuer`, they get none. Raises InvalidTokenRequest, NotFound, PermissionRefused, MoreThanHeld.
    """
    if actor.kind is ActorKind.JOB:
        # Its token is narrowed to one attempt and ends with it; another would be neither.
        require(actor, ISSUE, team_id=actor.team_id, resource=ResourceRef("Job", actor.id))
    assert subject_kind is not ActorKind.JOB, "tokens of jobs are the platform's to make: `issue_job_tokens`"
    team_id = await _require_subject(session, subject_kind, subject_id)
    _check(label, expires_at, at)
    subject = ResourceRef(_RESOURCE_TYPES[subject_kind], subject_id)
    if actor.token is not None and actor.token.is_limited:
        told = "A limited token makes no others, which would not be: rotate it, or use one without limits."
        raise PermissionRefused(told, permission=ISSUE, resources=[subject], team_id=team_id)
    holder = Subject(subject_kind, subject_id)
    emergency = await _require_issuing(session, actor, holder, team_id, roles, at=at)
    if issuer is not None and subject_kind is ActorKind.USER:
        raise PeopleSignIn(f"People sign in at {issuer}; tokens of Guildhall are for service accounts.")
    limits = await _limits(session, roles, networks)
    made = _make(
        subject_kind, subject_id, label, at=at, expires_at=expires_at, new_id=new_id, limits=limits, emergency=emergency
    )
    await session.execute(insert(Token), [made.row])
    event = _issued(actor, made, subject, team_id, at=at, new_id=new_id)
    await add_events(session, [event])
    return IssuedToken(made.row["id"], made.text)


async def rotate_token(
    session: AsyncSession,
    actor: Actor,
    token_id: UUID,
    *,
    expires_at: datetime,
    overlap: timedelta,
    at: datetime,
    new_id: IdSource,
    field: str | None = None,
) -> IssuedToken:
    """Another token in the place of one that counts, with its label and limits; both count until the overlap is over.

    Without one the old token is withdrawn, so that what is being read with it ends. One's own, or as for `issue_token`
    another's; a limited token takes the place of itself alone, or it would be rid of its limits. Raises
    InvalidTokenRequest, PermissionRefused, MoreThanHeld, NotFound for what is not theirs.
    """
    token = await _locked(session, token_id)
    own = token is not None and actor.subject == (token.subject_kind, token.subject_id)
    team_id = None if token is None or own else await _team_of(session, token)
    if token is None or token.origin != TokenOrigin.GUILDHALL or not (own or actor.may(ISSUE, team_id)):
        raise NotFound("There is no such token.", field=field)
    if actor.token is not None and actor.token.is_limited and actor.token.id != token_id:
        told = "A limited token rotates itself alone: use one without limits."
        raise PermissionRefused(told, permission=ISSUE, resources=[ResourceRef("Token", token_id)], team_id=team_id)
    if token.subject_kind == ActorKind.JOB:
        raise InvalidTokenRequest("A job's token is the platform's to make.", field=field)
    if token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= at):
        raise InvalidTokenRequest("This token counts no longer; issue a new one.", field=field)
    if not timedelta(0) <= overlap <= OVERLAP_MAX:
        raise InvalidTokenRequest(f"Two tokens overlap for {OVERLAP_MAX.days} days at most.", field="overlapSeconds")
    _check(token.label, expires_at, at)
    kind = ActorKind(token.subject_kind)
    holder = Subject(kind, token.subject_id)
    emergency = await _require_issuing(session, actor, holder, team_id, token.roles, at=at)
    limits = {"roles": token.roles, "networks": token.networks}
    made = _make(
        kind, token.subject_id, token.label, at=at, expires_at=expires_at, new_id=new_id, limits=limits,
        emergency=emergency or await emergency_of_token(session, token.emergency_id),
    )  # fmt: skip
    await session.execute(insert(Token), [made.row])
    before = {"token": token.id, "expires_at": token.expires_at}
    ends_at = at + overlap
    token.expires_at = ends_at if token.expires_at is None else min(token.expires_at, ends_at)
    if ends_at == at:
        token.revoked_at = at
    await session.flush()
    announce_change(session, TOPIC, token.id)
    subject = ResourceRef(_RESOURCE_TYPES[kind], token.subject_id)
    event = _issued(actor, made, subject, team_id, at=at, new_id=new_id)
    event["before"] = as_json(before)
    event["after"] = {**event["after"], "replaced_ends_at": as_json(token.expires_at)}
    await add_events(session, [event])
    return IssuedToken(made.row["id"], made.text)


@dataclass(frozen=True, kw_only=True)
class JobTokenRequest:
    """A token of one attempt: it opens the job's staged inputs and its one output, and ends with the attempt."""

    claims: JobClaims
    label: str
    expires_at: datetime


async def issue_job_tokens(
    session: AsyncSession, actor: Actor, requests: Sequence[JobTokenRequest], *, at: datetime, new_id: IdSource
) -> list[IssuedToken]:
    """Tokens for attempts that are about to start, in the order of the requests; by the platform alone."""
    assert actor.kind is ActorKind.SYSTEM, "only the platform makes tokens for jobs"
    rows, events, issued = [], [], []
    for request in requests:
        claims, job = request.claims, ResourceRef("Job", request.claims.job_id)
        _check(request.label, request.expires_at, at)
        require(actor, ISSUE, team_id=claims.team_id, resource=job)
        made = _make(ActorKind.JOB, job.id, request.label, at=at, expires_at=request.expires_at, new_id=new_id)
        made.row["claims"] = _as_json(claims)
        rows.append(made.row)
        events.append(_issued(actor, made, job, claims.team_id, at=at, new_id=new_id))
        issued.append(IssuedToken(made.row["id"], made.text))
    if rows:
        await session.execute(insert(Token), rows)
    await add_events(session, events)
    return issued


async def revoke_token(
    session: AsyncSession, actor: Actor, token_id: UUID, *, at: datetime, new_id: IdSource, field: str | None = None
) -> None:
    """End one token at once, for good; ending an ended one changes nothing. Raises NotFound for what is not theirs."""
    token = await _locked(session, token_id)
    own = token is not None and actor.subject == (token.subject_kind, token.subject_id)
    team_id = None if token is None or own else await _team_of(session, token)
    if token is None or not (own or actor.may(REVOKE, team_id)):
        raise NotFound("There is no such token.", field=field)
    if token.revoked_at is not None:
        return
    token.revoked_at = at
    await session.flush()
    announce_change(session, TOPIC, token.id)
    await add_events(session, [_ended(actor, token, team_id, at=at, new_id=new_id)])


async def revoke_tokens_of(
    session: AsyncSession,
    actor: Actor,
    *,
    subject_kind: ActorKind,
    subject_ids: Collection[UUID],
    at: datetime,
    new_id: IdSource,
) -> int:
    """End every token of users, service accounts or jobs that still counts; returns how many there were."""
    counting = or_(Token.expires_at.is_(None), Token.expires_at > at)
    rows = await session.scalars(
        update(Token)
        .where(
            Token.subject_kind == subject_kind.value,
            among(Token.subject_id, subject_ids),
            Token.revoked_at.is_(None),
            counting,
        )
        .values(revoked_at=at)
        .returning(Token)
    )
    events = []
    for token in rows.all():
        announce_change(session, TOPIC, token.id)
        team_id = await _team_of(session, token)
        require(actor, REVOKE, team_id=team_id, resource=ResourceRef(_RESOURCE_TYPES[subject_kind], token.subject_id))
        events.append(_ended(actor, token, team_id, at=at, new_id=new_id))
    await add_events(session, events)
    return len(events)


class _Made(NamedTuple):
    """A token that is not stored yet, and its text."""

    row: dict[str, Any]
    text: str


def _make(
    kind: ActorKind,
    subject_id: UUID,
    label: str,
    *,
    at: datetime,
    expires_at: datetime,
    new_id: IdSource,
    limits: Mapping[str, list[str] | None] | None = None,
    emergency: Emergency | None = None,
) -> _Made:
    text = make_token(kind)
    row: dict[str, Any] = {
        "id": new_id(),
        "subject_kind": kind.value,
        "subject_id": subject_id,
        "prefix": text[:SHOWN_CHARACTERS],
        "hash": hash_token(text),
        "label": label.strip(),
        "claims": {},
        "created_at": at,
        "expires_at": expires_at if emergency is None else min(expires_at, emergency.ends_at),
        "emergency_id": None if emergency is None else emergency.id,
        **(limits or {}),
    }
    return _Made(row, text)


def _issued(
    actor: Actor, made: _Made, subject: ResourceRef, team_id: UUID | None, *, at: datetime, new_id: IdSource
) -> dict[str, Any]:
    after = {
        name: made.row[name] for name in ("label", "prefix", "expires_at", "roles", "networks") if made.row.get(name)
    }
    resources = [ResourceRef("Token", made.row["id"]), subject]
    return compose_event(actor, action=ISSUE, resources=resources, team_id=team_id, after=after, at=at, new_id=new_id)


async def _require_issuing(
    session: AsyncSession,
    actor: Actor,
    holder: Subject,
    team_id: UUID | None,
    roles: Sequence[str] | None,
    *,
    at: datetime,
) -> Emergency | None:
    """One's own tokens anybody makes; another's, who may and holds what they will allow, or may escalate.

    A person's token stands for all that they may by name, too: that takes the right to escalate.
    """
    subject = ResourceRef(_RESOURCE_TYPES[holder.kind], holder.id)
    allowed = await roles_held(session, holder, at=at, among=roles) if holder != actor.subject else []

    def check(someone: Actor) -> None:
        if holder != someone.subject:
            require(someone, ISSUE, team_id=team_id, resource=subject)
            everything = [(None, {ESCALATE})] if holder.kind is ActorKind.USER else []
            require_held(someone, ISSUE, [*allowed, *everything], resource=subject)

    check(actor)
    return await emergency_behind(session, actor, check, at=at)


async def _limits(
    session: AsyncSession, roles: Sequence[str] | None, networks: Sequence[str] | None
) -> dict[str, list[str] | None]:
    if roles is not None:
        known = await bindable_roles(session)
        if not roles or not known.issuperset(roles):
            right = ", ".join(sorted(known))
            raise InvalidTokenRequest(f"A token is limited to one or more of these roles: {right}.", field="roles")
    return {
        "roles": None if roles is None else sorted(set(roles)),
        "networks": None if networks is None else networks_of(networks, field="networks"),
    }


async def _locked(session: AsyncSession, token_id: UUID) -> Token | None:
    return await session.scalar(
        select(Token)
        .where(Token.id == token_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )


async def _require_subject(session: AsyncSession, kind: ActorKind, subject_id: UUID) -> UUID | None:
    """The team of a service account, None for a user; NotFound for a holder that is not there or not active."""
    if kind is ActorKind.USER:
        active = select(User.id).where(User.id == subject_id, User.deactivated_at.is_(None))
        if await session.scalar(active) is None:
            raise NotFound("There is no such person.")
        return None
    team = select(ServiceAccount.team_id).where(
        ServiceAccount.id == subject_id, ServiceAccount.deactivated_at.is_(None)
    )
    team_id = await session.scalar(team)
    if team_id is None:
        raise NotFound("There is no such service account.")
    return team_id


async def _team_of(session: AsyncSession, token: Token) -> UUID | None:
    if token.subject_kind == ActorKind.JOB:
        return UUID(token.claims["team_id"])
    return await session.scalar(select(ServiceAccount.team_id).where(ServiceAccount.id == token.service_account_id))


def _ended(actor: Actor, token: Token, team_id: UUID | None, *, at: datetime, new_id: IdSource) -> dict[str, Any]:
    subject = ResourceRef(_RESOURCE_TYPES[ActorKind(token.subject_kind)], token.subject_id)
    return compose_event(
        actor,
        action=REVOKE,
        resources=[ResourceRef("Token", token.id), subject],
        team_id=team_id,
        before={"label": token.label, "prefix": token.prefix},
        at=at,
        new_id=new_id,
    )


def _check(label: str, expires_at: datetime, at: datetime) -> None:
    if not label.strip() or len(label) > LABEL_CHARACTERS_MAX or "\0" in label:
        raise InvalidTokenRequest(f"A token has a label of 1 to {LABEL_CHARACTERS_MAX} characters.", field="label")
    if not at < expires_at <= at + timedelta(days=TOKEN_DAYS_MAX):
        raise InvalidTokenRequest(
            f"A token ends in the future, in {TOKEN_DAYS_MAX} days at the latest.", field="expiresAt"
        )


def _as_json(claims: JobClaims) -> dict[str, str]:
    return {
        "attempt_id": str(claims.attempt_id),
        "team_id": str(claims.team_id),
        "submitted_by": str(claims.submitted_by),
    }
