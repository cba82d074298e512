"""Tokens: made for oneself, or by an administrator for others; ended at once."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, select

from guildhall.auth.actor import Actor
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import ServiceAccount, Team, Token, User
from guildhall.auth.tokens import TokenOrigin
from guildhall.errors import Invalid, NotFound
from guildhall.graphql.context import Call
from guildhall.graphql.declare import column, connection, extend, node, one, payload, reference
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from guildhall.organisation.tokens import ISSUE, REVOKE, issue_token, revoke_token, rotate_token
from guildhall.schema.viewer import ACTORS

READ = "guildhall:token:read"
SECONDS_MAX = 366 * 86_400


class InvalidDuration(Invalid):
    """A token that would be over before it began, or last longer than tokens may."""

    code = "INVALID_DURATION"


class UnknownHolder(NotFound):
    """Nobody of that name to give a token to."""


def visible_tokens(actor: Actor) -> ColumnElement[bool]:
    """One's own tokens, and all for whoever may read tokens; those of jobs are nobody's to see."""
    own = and_(Token.subject_kind == actor.kind.value, Token.subject_id == actor.id)
    shown = Token.subject_kind != ActorKind.JOB.value
    return shown if actor.may(READ, None) else and_(shown, own)


@node("Token", table=Token, visible=visible_tokens, permission="guildhall:viewer:read")
class TokenType:
    """A secret that stands for a caller; only its beginning is kept where it can be read."""

    label: str = column(Token.label)
    prefix: str = column(Token.prefix, description="How the token begins, so that people can tell theirs apart.")
    origin: TokenOrigin = column(Token.origin)
    roles: list[str] | None = column(Token.roles, description="The roles that it is limited to; null is no limit.")
    networks: list[str] | None = column(
        Token.networks, description="The networks that it counts from; null is no limit."
    )
    holder = reference(Token.subject_kind, Token.subject_id, types=ACTORS)
    created_at: datetime = column(Token.created_at)
    expires_at: datetime | None = column(Token.expires_at)
    revoked_at: datetime | None = column(Token.revoked_at)
    last_used_at: datetime | None = column(Token.last_used_at, description="To the minute.")


@extend("Viewer")
class ViewerTokens:
    """What the caller can sign in with."""

    tokens = connection(
        "Token",
        where=lambda context: [
            Token.subject_kind == context.actor.kind.value,
            Token.subject_id == context.actor.id,
            Token.origin == TokenOrigin.GUILDHALL.value,
        ],
        default_order=[Token.created_at.desc()],
    )


@extend("ServiceAccount")
class ServiceAccountTokens:
    """What the program signs in with, for whoever may read tokens."""

    tokens = connection(
        "Token", local=ServiceAccount.id, remote=Token.service_account_id, default_order=[Token.created_at.desc()]
    )


@input_type
class ServiceAccountName:
    """A program by its team and name."""

    team: str
    name: str


@input_type
class IssueTokenInput(MutationInput):
    """For a person by address, or for a service account; for the caller where neither is named."""

    label: str
    duration_seconds: int
    email: str | None = None
    service_account: ServiceAccountName | None = None
    roles: list[str] | None = None
    networks: list[str] | None = None


@payload
class IssueTokenPayload:
    """The one time that the text of the token can be read."""

    token = one("Token", local="token")
    secret: str | None = column("secret", description="Null when the same idempotency key asks again.")


@input_type
class RotateTokenInput(MutationInput):
    """Which one, how long the new one lasts, and how long the old one counts beside it."""

    token_id: ID
    duration_seconds: int
    overlap_seconds: int = 3_600


@payload
class RotateTokenPayload:
    """The new token, and the one time that its text can be read; the old one with its new end."""

    token = one("Token", local="token")
    replaced = one("Token", local="replaced")
    secret: str | None = column("secret", description="Null when the same idempotency key asks again.")


@input_type
class RevokeTokenInput(MutationInput):
    """Which one; where none is named, the one that the call itself shows."""

    token_id: ID | None = None


@payload
class RevokeTokenPayload:
    """The ended token."""

    token = one("Token", local="token")


@extend("Mutation")
class TokenMutations:
    """Tokens."""

    @mutation(permission=ISSUE, payload=IssueTokenPayload, secret={"secret"})
    async def issue_token(call: Call, given: IssueTokenInput) -> Mapping[str, Any]:
        """Make a token for oneself, or for others with guildhall:token:issue."""
        expires_at = _end(call, given.duration_seconds)
        kind, holder = await _holder(call, given)
        issued = await issue_token(
            call.session,
            call.actor,
            subject_kind=kind,
            subject_id=holder,
            label=given.label,
            expires_at=expires_at,
            at=call.at,
            new_id=call.new_id,
            roles=given.roles,
            networks=given.networks,
            issuer=call.settings.oidc_issuer,
        )
        return {"token": issued.id, "secret": issued.text}

    @mutation(permission=ISSUE, payload=RotateTokenPayload, secret={"secret"})
    async def rotate_token(call: Call, given: RotateTokenInput) -> Mapping[str, Any]:
        """Make a token in another's place, with its label and limits; both count until the overlap is over."""
        key = decode_id(given.token_id, "Token", field="tokenId")
        if not 0 <= given.overlap_seconds <= SECONDS_MAX:
            raise InvalidDuration(f"Tokens overlap for 0 to {SECONDS_MAX} seconds.", field="overlapSeconds")
        issued = await rotate_token(
            call.session, call.actor, key, expires_at=_end(call, given.duration_seconds),
            overlap=timedelta(seconds=given.overlap_seconds), at=call.at, new_id=call.new_id, field="tokenId",
        )  # fmt: skip
        return {"token": issued.id, "replaced": key, "secret": issued.text}

    @mutation(permission=REVOKE, payload=RevokeTokenPayload)
    async def revoke_token(call: Call, given: RevokeTokenInput) -> Mapping[str, Any]:
        """End a token at once; one's own, or with guildhall:token:revoke another's; without an id the call's own."""
        assert call.actor.token is not None, "who was identified showed a token"
        named = given.token_id
        key = call.actor.token.id if named is None else decode_id(named, "Token", field="tokenId")
        await revoke_token(call.session, call.actor, key, at=call.at, new_id=call.new_id, field="tokenId")
        return {"token": key}


def _end(call: Call, duration_seconds: int) -> datetime:
    if not 1 <= duration_seconds <= SECONDS_MAX:
        raise InvalidDuration(f"A token lasts between 1 and {SECONDS_MAX} seconds.", field="durationSeconds")
    return call.at + timedelta(seconds=duration_seconds)


async def _holder(call: Call, given: IssueTokenInput) -> tuple[ActorKind, UUID]:
    """Who the token is for, by the names of the input."""
    if given.email is not None and given.service_account is not None:
        raise Invalid("Name a person or a service account, not both.", field="serviceAccount")
    if given.service_account is not None:
        name = given.service_account
        team = select(Team.id).where(Team.name == name.team).scalar_subquery()
        account = select(ServiceAccount.id).where(ServiceAccount.name == name.name, ServiceAccount.team_id == team)
        found = await call.session.scalar(account)
        if found is None:
            raise UnknownHolder(
                f"There is no service account {name.name!r} in a team {name.team!r}.", field="serviceAccount"
            )
        return ActorKind.SERVICE_ACCOUNT, found
    if given.email is not None:
        found = await call.session.scalar(select(User.id).where(User.email == given.email.lower()))
        if found is None:
            raise UnknownHolder("There is nobody with this address.", field="email")
        return ActorKind.USER, found
    return call.actor.kind, call.actor.id


TYPES = [
    TokenType, ViewerTokens, ServiceAccountTokens, IssueTokenPayload, RotateTokenPayload, RevokeTokenPayload,
    TokenMutations,
]  # fmt: skip
