"""What a webhook is sent: the shape that Standard Webhooks recommends, with the facts and the words of the inbox."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from guildhall.graphql.ids import encode_id
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.tables import InboxEvent
from guildhall.inbox.wording import worded


def event_body(event: InboxEvent, *, team: str | None) -> bytes:
    """The same bytes in each attempt; the ids are those of GraphQL, where a receiver with a token can read on."""
    words = worded(EventKind(event.kind), event.facts)
    data = {
        "title": words.title,
        "text": words.text,
        "team": team,
        "subject": {"type": event.subject_type, "id": encode_id(event.subject_type, event.subject_id)},
        "facts": event.facts,
    }
    return _encoded(type_of(event.kind), event.occurred_at, data)


def ping_body(webhook_id: UUID, *, label: str, created_at: datetime) -> bytes:
    """What `testWebhook` sends: nothing has happened."""
    data = {
        "title": "A test",
        "text": f"Somebody asked whether the webhook {label!r} works.",
        "team": None,
        "subject": {"type": "Webhook", "id": encode_id("Webhook", webhook_id)},
        "facts": {},
    }
    return _encoded(type_of("WEBHOOK_PING"), created_at, data)


def type_of(kind: str) -> str:
    """`JOB_ENDED` as `job.ended`: what it is about, a full stop, what became of it."""
    return kind.lower().replace("_", ".", 1)


def _encoded(kind: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    timestamp = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    body = {"type": kind, "timestamp": timestamp, "data": data}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
