"""Following one's own inbox: each notification as it comes."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from typing_extensions import override

from guildhall.db.announcing import topic_of
from guildhall.graphql.context import Context
from guildhall.graphql.declare import column, extend, object_type, one
from guildhall.graphql.resolve import FieldRefused
from guildhall.graphql.subscriptions.declaring import subscription
from guildhall.graphql.subscriptions.following import Change, Following, Look, Position
from guildhall.inbox.following import TOPIC, Heard, begin_hearing, hear
from guildhall.inbox.graphql.notifications import READ
from guildhall.inbox.kinds import NEEDED


@object_type("NotificationAdded", permission=READ)
class NotificationAddedType:
    """Something that the caller was told just now; first, without `after`, a change that only says where it begins."""

    cursor: str = column("cursor", description="Where to go on: pass it as `after`, and nothing is missed.")
    notification = one(
        "Notification", local="notification_id", description="Null in the first change, and where it may not be seen."
    )


@dataclass
class InboxFollowing(Following):
    """The inbox of one person."""

    user_id: UUID

    def __post_init__(self) -> None:
        self.name = f"notificationAdded {self.user_id}"
        self.topic = topic_of(TOPIC, self.user_id)

    @override
    async def require(self, context: Context) -> None:
        if not context.actor.may(READ, None):
            raise FieldRefused(f"This needs the permission {READ}; an administrator can grant it.")

    @override
    def place(self, context: Context) -> tuple[Any, ...]:
        kinds = tuple(kind for kind, permission in NEEDED.items() if context.actor.shows_token_for(permission))
        return (self.name, kinds)

    @override
    async def look(self, context: Context, position: Position | None) -> Look:
        async with context.database.read() as session:
            if position is None:
                begun = (await begin_hearing(session, context.actor, at=context.at)).values
                return Look(changes=[Change({"notification_id": None}, begun)], position=begun)
            told, place, more = await hear(session, context.actor, Heard.of(position), at=context.at)
        changes = [Change({"notification_id": key}, after.values) for key, after in told]
        return Look(changes=changes, position=place.values, more=more)


@extend("Subscription")
class InboxSubscriptions:
    """What can be followed of the inbox."""

    @subscription("NotificationAdded", permission=READ)
    def notification_added(context: Context, _wanted: frozenset[str]) -> InboxFollowing:
        """The caller's own inbox: each notification as it is told; it never ends. Programs and jobs have none."""
        return InboxFollowing(context.actor.id)


TYPES = [NotificationAddedType, InboxSubscriptions]
