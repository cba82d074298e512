"""Browsers' sessions: one's own listed and ended."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select

from guildhall.auth.actor import Actor
from guildhall.auth.tables import Session, Token
from guildhall.graphql.context import Call, Context
from guildhall.graphql.declare import column, connection, extend, node, one, payload
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from guildhall.organisation.tokens import REVOKE, revoke_token


def visible_sessions(actor: Actor) -> ColumnElement[bool]:
    """One's own; who is no person has none."""
    return Session.user_id == actor.id


def _of_token(value: Any) -> Any:  # noqa: ANN401 -- any column of it
    return select(value).where(Token.id == Session.id).correlate(Session.__table__).scalar_subquery()


def _is_current(context: Context) -> ColumnElement[bool]:
    shown = context.actor.token
    return Session.id == (None if shown is None else shown.id)


@node("Session", table=Session, visible=visible_sessions, permission="guildhall:viewer:read")
class SessionType:
    """A browser that is signed in, or was within the last month."""

    user = one("User", local=Session.user_id, nullable=False)
    address: str | None = column(Session.address, description="From where it signed in.")
    client: str | None = column(Session.client, description="What the browser said of itself then.")
    created_at: datetime = column(Session.created_at)
    ends_at: datetime = column(Session.ends_at, description="When it ends at the latest; sooner when it lies idle.")
    ended_at: datetime | None = column(_of_token(Token.revoked_at), description="When it was ended before that.")
    last_used_at: datetime | None = column(_of_token(Token.last_used_at), description="To the minute.")
    current: bool = column(_is_current, description="Whether this request was made in it.")


@extend("Viewer")
class ViewerSessions:
    """Where the caller is signed in."""

    sessions = connection(
        "Session",
        where=lambda context: [Session.user_id == context.actor.id],
        default_order=[Session.created_at.desc()],
    )


@input_type
class EndSessionInput(MutationInput):
    """Which one."""

    session_id: ID


@payload
class EndSessionPayload:
    """The ended session."""

    session = one("Session", local="session")


@extend("Mutation")
class SessionMutations:
    """Sessions."""

    @mutation(permission=REVOKE, payload=EndSessionPayload)
    async def end_session(call: Call, given: EndSessionInput) -> Mapping[str, Any]:
        """Sign a browser out at once; one's own, or with guildhall:token:revoke another's."""
        key = decode_id(given.session_id, "Session", field="sessionId")
        await revoke_token(call.session, call.actor, key, at=call.at, new_id=call.new_id, field="sessionId")
        return {"session": key}


TYPES = [SessionType, ViewerSessions, EndSessionPayload, SessionMutations]
