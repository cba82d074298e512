"""One's own notifications: listed, counted, marked as read."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from guildhall.graphql.context import Call, Context
from guildhall.graphql.declare import (
    batched,
    column,
    connection,
    extend,
    many_by_ids,
    node,
    one,
    payload,
    reference,
    resolver,
)
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from guildhall.graphql.sources import Scope
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.reading import (
    MARK,
    NOTIFICATIONS_MAX,
    count_unread,
    mark_read,
    mark_unread,
    visible_notifications,
)
from guildhall.inbox.tables import InboxEvent, Notification
from guildhall.inbox.wording import worded

READ = "guildhall:viewer:read"

SUBJECTS = ("Job", "AccessRequest", "AccessGrant", "AccessAlert", "Allocation", "Loosening")
"""The types of what notifications are about."""


def _of_event(value: Any) -> Any:  # noqa: ANN401 -- any column of it
    return (
        select(value).where(InboxEvent.id == Notification.event_id).correlate(Notification.__table__).scalar_subquery()
    )


_TOLD = {"kind": _of_event(InboxEvent.kind), "facts": _of_event(InboxEvent.facts)}


@node("Notification", table=Notification, visible=visible_notifications, permission=READ)
class NotificationType:
    """Something that the caller would otherwise have to look for again and again."""

    kind: EventKind = column(_of_event(InboxEvent.kind))

    @resolver(needs=_TOLD)
    def title(_context: Context, values: Mapping[str, Any]) -> str:
        """What happened, in one line."""
        return worded(EventKind(values["kind"]), values["facts"]).title

    @resolver(needs=_TOLD)
    def text(_context: Context, values: Mapping[str, Any]) -> str:
        """The rest of it, as plain text: what was so when it happened."""
        return worded(EventKind(values["kind"]), values["facts"]).text

    subject = reference(
        _of_event(InboxEvent.subject_type),
        _of_event(InboxEvent.subject_id),
        types={name: name for name in SUBJECTS},
        description="What it is about; null where the caller may not see that any more.",
    )
    team = one("Team", local=_of_event(InboxEvent.team_id), description="The team that it is for, if it is for one.")
    created_at: datetime = column(Notification.created_at)
    read_at: datetime | None = column(Notification.read_at)


def _which(context: Context, *, unread_only: bool = False, kinds: list[EventKind] | None = None) -> Scope:
    where = [visible_notifications(context.actor)]
    if unread_only:
        where.append(Notification.read_at.is_(None))
    if kinds is not None:
        where.append(_of_event(InboxEvent.kind).in_([EventKind(kind).value for kind in kinds]))
    return Scope(where=where)


@extend("Viewer", permission=READ)
class ViewerInbox:
    """The caller's inbox."""

    notifications = connection(
        "Notification",
        scope=_which,
        default_order=[Notification.created_at.desc()],
        description="What the caller was told, newest first.",
    )

    @batched(key="id", nullable=False)
    async def unread_notifications(context: Context, keys: Sequence[UUID]) -> Mapping[UUID, int]:
        """How many of them are not marked as read."""
        async with context.database.read() as session:
            unread = await count_unread(session, context.actor)
        return dict.fromkeys(keys, unread)


@input_type
class MarkNotificationsReadInput(MutationInput):
    """Those with these ids, or all up to a moment: one of the two."""

    ids: list[ID] | None = None
    up_to: datetime | None = None


@input_type
class MarkNotificationsUnreadInput(MutationInput):
    """Which ones."""

    ids: list[ID]


@payload
class MarkNotificationsPayload:
    """What the inbox is like now."""

    notifications = many_by_ids(
        "Notification", "notifications", maximum=NOTIFICATIONS_MAX, description="Those that were named by their ids."
    )
    marked: int | None = column("marked", description="How many are marked otherwise than before.")
    unread_notifications: int | None = column("unread", description="How many are left to read.")


@extend("Mutation")
class InboxMutations:
    """The caller's inbox."""

    @mutation(permission=MARK, payload=MarkNotificationsPayload)
    async def mark_notifications_read(call: Call, given: MarkNotificationsReadInput) -> Mapping[str, Any]:
        """Mark one's own notifications as read, by their ids or all up to a moment."""
        ids = None if given.ids is None else _keys(given.ids)
        marked = await mark_read(call.session, call.actor, ids=ids, up_to=given.up_to, at=call.at, new_id=call.new_id)
        return await _marked(call, ids or [], marked)

    @mutation(permission=MARK, payload=MarkNotificationsPayload)
    async def mark_notifications_unread(call: Call, given: MarkNotificationsUnreadInput) -> Mapping[str, Any]:
        """Take that back."""
        ids = _keys(given.ids)
        marked = await mark_unread(call.session, call.actor, ids=ids, at=call.at, new_id=call.new_id)
        return await _marked(call, ids, marked)


def _keys(ids: Sequence[ID]) -> list[UUID]:
    return [decode_id(each, "Notification", field=f"ids[{number}]") for number, each in enumerate(ids)]


async def _marked(call: Call, ids: Sequence[UUID], marked: int) -> Mapping[str, Any]:
    unread = await count_unread(call.session, call.actor)
    return {"notifications": list(ids), "marked": marked, "unread": unread}


TYPES = [NotificationType, ViewerInbox, MarkNotificationsPayload, InboxMutations]
