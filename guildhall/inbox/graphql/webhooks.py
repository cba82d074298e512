"""Webhooks: registered, changed, tested; their secrets are answered once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from guildhall.auth.tables import Team
from guildhall.errors import NotFound
from guildhall.graphql.context import Call, Context
from guildhall.graphql.declare import column, connection, extend, node, one, payload, reason
from guildhall.graphql.filters import filters, matches
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from guildhall.inbox.deliveries import ping_webhook
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.tables import Webhook, WebhookSecret
from guildhall.inbox.webhook_addresses import require_allowed
from guildhall.inbox.webhook_secrets import CHANGE
from guildhall.inbox.webhooks import (
    READ,
    WebhookSpec,
    check_registration,
    delete_webhook,
    find_webhook,
    pause_webhook,
    register_webhook,
    resume_webhook,
    rotate_secret,
    update_webhook,
    visible_webhooks,
)
from guildhall.keys import load_keyring


class UnknownTeam(NotFound):
    """No team of this name."""

    code = "UNKNOWN_TEAM"


@filters("WebhookFilter")
class WebhookFilter:
    """Which webhooks."""

    team: str = matches(Team.name, via=lambda clause: Webhook.team_id.in_(select(Team.id).where(clause)))


@node("Webhook", table=Webhook, visible=visible_webhooks, permission=READ, team=Webhook.team_id)
class WebhookType:
    """An address that is told of events as they happen, signed after the Standard Webhooks specification."""

    label: str = column(Webhook.label, description="What it is for.")
    url: str = column(Webhook.url)
    kinds: list[EventKind] = column(Webhook.kinds, description="The events that it is told of.")
    team = one("Team", local=Webhook.team_id, description="Whose events; null for everybody's.")
    created_at: datetime = column(Webhook.created_at)
    paused_at: datetime | None = column(
        Webhook.paused_at, description="Since when nothing is sent, and what is new waits."
    )
    pause_reason = reason(Webhook.pause_code, Webhook.pause_message)
    rests_until: datetime | None = column(Webhook.rests_until, description="Until when the receiver asked for rest.")
    previous_secret_expires_at: datetime | None = column(
        select(WebhookSecret.expires_at)
        .where(WebhookSecret.webhook_id == Webhook.id, WebhookSecret.expires_at.is_not(None))
        .correlate(Webhook.__table__)
        .scalar_subquery(),
        description="Until when messages are signed with the secret before the newest as well.",
    )


@extend("Query", permission=READ)
class WebhookQueries:
    """Webhooks that the caller may see."""

    webhooks = connection("Webhook", filter=WebhookFilter, default_order=[Webhook.created_at.desc()], permission=READ)


@input_type
class RegisterWebhookInput(MutationInput):
    """For a team by its name; without one for the whole organisation."""

    label: str
    url: str
    kinds: list[EventKind]
    team: str | None = None


@payload
class RegisterWebhookPayload:
    """The webhook, and the one time that its secret can be read."""

    webhook = one("Webhook", local="webhook")
    secret: str | None = column("secret", description="Null when the same idempotency key asks again.")


@input_type
class UpdateWebhookInput(MutationInput):
    """All three are set."""

    webhook_id: ID
    label: str
    url: str
    kinds: list[EventKind]


@input_type
class RotateWebhookSecretInput(MutationInput):
    """How long messages are signed with the earlier secret as well: a day, if nothing else is said."""

    webhook_id: ID
    overlap_seconds: int = 86_400


@input_type
class PauseWebhookInput(MutationInput):
    """Which one."""

    webhook_id: ID


@input_type
class ResumeWebhookInput(MutationInput):
    """Which one."""

    webhook_id: ID


@input_type
class DeleteWebhookInput(MutationInput):
    """Which one."""

    webhook_id: ID


@input_type
class TestWebhookInput(MutationInput):
    """Which one."""

    webhook_id: ID


@payload
class WebhookPayload:
    """The webhook as it is now."""

    webhook = one("Webhook", local="webhook")


@payload
class DeleteWebhookPayload:
    """The id of the one that is gone."""

    deleted_id: ID | None = column("deleted")


@payload
class TestWebhookPayload:
    """The delivery that says what comes of it."""

    delivery = one("Delivery", local="delivery")


async def _team_id(session: Any, name: str | None) -> UUID | None:  # noqa: ANN401 -- of either kind
    if name is None:
        return None
    found: UUID | None = await session.scalar(select(Team.id).where(Team.name == name))
    if found is None:
        raise UnknownTeam(f"There is no team named {name!r}.", field="team")
    return found


def _spec(given: RegisterWebhookInput | UpdateWebhookInput) -> WebhookSpec:
    return WebhookSpec(label=given.label, url=given.url, kinds=[EventKind(kind) for kind in given.kinds])


async def _look_before_registering(context: Context, given: RegisterWebhookInput) -> None:
    async with context.database.read() as session:
        team_id = await _team_id(session, given.team)
    check_registration(context.actor, _spec(given), team_id=team_id)
    await require_allowed(given.url, context.settings.webhook_networks)


async def _look_before_updating(context: Context, given: UpdateWebhookInput) -> None:
    async with context.database.read() as session:
        webhook = await find_webhook(session, context.actor, _key(given.webhook_id))
    check_registration(context.actor, _spec(given), team_id=webhook.team_id)
    await require_allowed(given.url, context.settings.webhook_networks)


def _key(webhook_id: ID) -> UUID:
    return decode_id(webhook_id, "Webhook", field="webhookId")


@extend("Mutation")
class WebhookMutations:
    """Webhooks come and go."""

    @mutation(permission=CHANGE, payload=RegisterWebhookPayload, prepare=_look_before_registering, secret={"secret"})
    async def register_webhook(call: Call, given: RegisterWebhookInput) -> Mapping[str, Any]:
        """Have events sent to an address, as they happen from now on."""
        made = await register_webhook(
            call.session, call.actor, _spec(given), team_id=await _team_id(call.session, given.team),
            keyring=load_keyring(call.settings.credentials_key_file), at=call.at, new_id=call.new_id,
        )  # fmt: skip
        return {"webhook": made.id, "secret": made.secret}

    @mutation(permission=CHANGE, payload=WebhookPayload, prepare=_look_before_updating)
    async def update_webhook(call: Call, given: UpdateWebhookInput) -> Mapping[str, Any]:
        """Give it another label, address or other events; its secret stays."""
        key = _key(given.webhook_id)
        await update_webhook(call.session, call.actor, _spec(given), webhook_id=key, at=call.at, new_id=call.new_id)
        return {"webhook": key}

    @mutation(permission=CHANGE, payload=RegisterWebhookPayload, secret={"secret"})
    async def rotate_webhook_secret(call: Call, given: RotateWebhookSecretInput) -> Mapping[str, Any]:
        """Make a fresh secret; until the overlap is over each message carries two signatures."""
        key = _key(given.webhook_id)
        secret = await rotate_secret(
            call.session, call.actor, webhook_id=key, overlap_seconds=given.overlap_seconds,
            keyring=load_keyring(call.settings.credentials_key_file), at=call.at, new_id=call.new_id,
        )  # fmt: skip
        return {"webhook": key, "secret": secret}

    @mutation(permission=CHANGE, payload=WebhookPayload)
    async def pause_webhook(call: Call, given: PauseWebhookInput) -> Mapping[str, Any]:
        """Send nothing for now; what comes up meanwhile waits."""
        key = _key(given.webhook_id)
        await pause_webhook(call.session, call.actor, webhook_id=key, at=call.at, new_id=call.new_id)
        return {"webhook": key}

    @mutation(permission=CHANGE, payload=WebhookPayload)
    async def resume_webhook(call: Call, given: ResumeWebhookInput) -> Mapping[str, Any]:
        """Send what waits, and what is new; also where the receiver had asked for rest."""
        key = _key(given.webhook_id)
        await resume_webhook(call.session, call.actor, webhook_id=key, at=call.at, new_id=call.new_id)
        return {"webhook": key}

    @mutation(permission=CHANGE, payload=DeleteWebhookPayload)
    async def delete_webhook(call: Call, given: DeleteWebhookInput) -> Mapping[str, Any]:
        """Forget it, its secrets and its deliveries."""
        await delete_webhook(
            call.session, call.actor, webhook_id=_key(given.webhook_id), at=call.at, new_id=call.new_id
        )
        return {"deleted": given.webhook_id}

    @mutation(permission=CHANGE, payload=TestWebhookPayload)
    async def test_webhook(call: Call, given: TestWebhookInput) -> Mapping[str, Any]:
        """Send a message that says nothing, once, also to a paused webhook; the delivery says what came of it."""
        key = await ping_webhook(
            call.session, call.actor, webhook_id=_key(given.webhook_id), at=call.at, new_id=call.new_id
        )
        return {"delivery": key}


TYPES = [
    WebhookType, WebhookQueries, RegisterWebhookPayload, WebhookPayload, DeleteWebhookPayload, TestWebhookPayload,
    WebhookMutations,
]  # fmt: skip
