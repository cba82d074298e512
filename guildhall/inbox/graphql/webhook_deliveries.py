"""Deliveries: what left the house, what waits to, and the dead letters; and whether somebody wants mail."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import String, case, cast, func, select

from guildhall.graphql.context import Call, Context
from guildhall.graphql.declare import (
    batched,
    column,
    connection,
    extend,
    json_object,
    node,
    object_type,
    one,
    payload,
    reason,
)
from guildhall.graphql.filters import filters, matches, matching
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from guildhall.inbox.deliveries import PING, DeliveryChannel, DeliveryState, redeliver, visible_deliveries
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.mail_preferences import CHANGE_SETTINGS, MailWanted, mail_wanted, update_inbox_settings
from guildhall.inbox.tables import Delivery, Notification, Webhook
from guildhall.inbox.webhook_secrets import CHANGE
from guildhall.inbox.webhooks import READ


@filters("DeliveryFilter")
class DeliveryFilter:
    """Which deliveries."""

    state: DeliveryState = matches(Delivery.state)
    channel: DeliveryChannel = matches(Delivery.channel)
    created_at: datetime = matches(Delivery.created_at)
    webhook_id: ID = matching(
        lambda value, _context: Delivery.webhook_id == decode_id(value, "Webhook", field="filter.webhookId")
    )


@node("Delivery", table=Delivery, visible=visible_deliveries, permission=READ)
class DeliveryType:
    """One message to one receiver, over all its attempts. It may arrive more than once."""

    channel: DeliveryChannel = column(Delivery.channel)
    state: DeliveryState = column(Delivery.state)
    kind: EventKind | None = column(case((Delivery.kind != PING, Delivery.kind)), description="Null for a test.")
    message_id: str = column(
        cast(func.coalesce(Delivery.event_id, Delivery.id), String),
        description="The webhook-id of each attempt, by which a receiver knows what it has had already.",
    )
    webhook = one("Webhook", local=Delivery.webhook_id, description="Null for a mail.")
    recipient = one(
        "User",
        local=select(Notification.user_id)
        .where(Notification.id == Delivery.notification_id)
        .correlate(Delivery.__table__)
        .scalar_subquery(),
        description="Whom the mail is for; null for a webhook.",
    )
    attempts: int = column(Delivery.attempts, description="How often it was tried, the one under way included.")
    next_attempt_at: datetime | None = column(
        case((Delivery.state == DeliveryState.WAITING.value, Delivery.due_at)), description="Null when it has ended."
    )
    status: int | None = column(Delivery.status, description="What the receiver answered last, in HTTP or SMTP.")
    problem = reason(Delivery.reason_code, Delivery.reason_message)
    created_at: datetime = column(Delivery.created_at)
    ended_at: datetime | None = column(Delivery.ended_at)


@extend("Query")
class DeliveryQueries:
    """Everything that left, or did not."""

    deliveries = connection(
        "Delivery", filter=DeliveryFilter, default_order=[Delivery.created_at.desc()], permission=READ
    )


@extend("Webhook")
class WebhookDeliveries:
    """What it was sent."""

    deliveries = connection(
        "Delivery", local=Webhook.id, remote=Delivery.webhook_id, filter=DeliveryFilter,
        default_order=[Delivery.created_at.desc()],
    )  # fmt: skip


@object_type("InboxSettings")
class InboxSettingsType:
    """What somebody wants beside the inbox itself."""

    mail: MailWanted


@extend("Viewer", permission="guildhall:viewer:read")
class ViewerInboxSettings:
    """How the caller is told."""

    @batched(key="id", returns="InboxSettings", nullable=False)
    async def inbox_settings(context: Context, keys: Sequence[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """No mail unless the caller asked for it."""
        async with context.database.read() as session:
            wanted = await mail_wanted(session, context.actor)
        return {key: {"mail": wanted.value} for key in keys}


@input_type
class RedeliverInput(MutationInput):
    """Which one."""

    delivery_id: ID


@payload
class RedeliverPayload:
    """The delivery, waiting again."""

    delivery = one("Delivery", local="delivery")


@input_type
class UpdateInboxSettingsInput(MutationInput):
    """All notifications as mail, or none."""

    mail: MailWanted


@payload
class UpdateInboxSettingsPayload:
    """The settings as they are now."""

    settings = json_object("InboxSettings", "settings")


@extend("Mutation")
class DeliveryMutations:
    """Sending again, and how one is told."""

    @mutation(permission=CHANGE, payload=RedeliverPayload)
    async def redeliver(call: Call, given: RedeliverInput) -> Mapping[str, Any]:
        """Try a delivery that is dead, or has arrived, all over again, under the same message id."""
        key = decode_id(given.delivery_id, "Delivery", field="deliveryId")
        await redeliver(call.session, call.actor, delivery_id=key, at=call.at, new_id=call.new_id)
        return {"delivery": key}

    @mutation(permission=CHANGE_SETTINGS, payload=UpdateInboxSettingsPayload)
    async def update_inbox_settings(call: Call, given: UpdateInboxSettingsInput) -> Mapping[str, Any]:
        """Say whether the caller's notifications come as mail, too."""
        mail = MailWanted(given.mail)
        await update_inbox_settings(call.session, call.actor, mail=mail, at=call.at, new_id=call.new_id)
        return {"settings": {"mail": mail.value}}


TYPES = [
    DeliveryType, DeliveryQueries, WebhookDeliveries, InboxSettingsType, ViewerInboxSettings, RedeliverPayload,
    UpdateInboxSettingsPayload, DeliveryMutations,
]  # fmt: skip
