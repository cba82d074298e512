"""An audit event as the Open Cybersecurity Schema Framework (1.5.0) says it, for systems that watch over many programs.

What the framework has a place for goes there; all else that the event says is under `unmapped`, in our own words. Who
knows only the framework sees who did what to what, from where, whether it was let through, and when.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from guildhall.audit.record import as_json
from guildhall.audit.tables import Outcome

VERSION = "1.5.0"
PRODUCT = "Guildhall"
INFORMATIONAL, MEDIUM, HIGH = 1, 3, 4
SUCCESS, FAILURE, OTHER = 1, 2, 99

_SIGN_IN = "guildhall:token:issue"
_ACCOUNT_ACTIONS = frozenset(
    {"guildhall:user:change", "guildhall:service-account:change", "guildhall:token:issue", "guildhall:token:revoke"}
)
_ROLE_ACTIONS = frozenset({"guildhall:role:bind", "guildhall:role:take"})
_ALARMING = frozenset({"guildhall:role:take"})
_ACCOUNTS = {"User": (1, "User"), "ServiceAccount": (OTHER, "Service account")}
_ACTORS = {
    "USER": (1, "User"),
    "SERVICE_ACCOUNT": (OTHER, "Service account"),
    "JOB": (OTHER, "Job"),
    "SYSTEM": (3, "System"),
}
_UNMAPPED = (
    "permission_class", "outcome", "on_behalf_of_id", "team_id", "purpose", "access_grant_id", "rows", "bytes",
    "before", "after", "concludes_id", "act_at",
)  # fmt: skip


@dataclass(frozen=True)
class EventClass:
    """A class of the framework, its category, and what its activities are called."""

    uid: int
    name: str
    category_uid: int
    activities: Mapping[int, str]

    @property
    def category_name(self) -> str:
        """What the framework calls the category."""
        return {3: "Identity & Access Management", 6: "Application Activity"}[self.category_uid]


ACCOUNT_CHANGE = EventClass(3001, "Account Change", 3, {1: "Create", 5: "Disable"})
AUTHENTICATION = EventClass(3002, "Authentication", 3, {1: "Logon"})
ENTITY_MANAGEMENT = EventClass(3004, "Entity Management", 3, {1: "Create", 3: "Update", 4: "Delete"})
USER_ACCESS = EventClass(3005, "User Access Management", 3, {1: "Assign Privileges", 2: "Revoke Privileges"})
API_ACTIVITY = EventClass(6003, "API Activity", 6, {1: "Create", 2: "Read", 3: "Update", 4: "Delete"})


def ocsf_event(
    row: Mapping[str, Any], *, leaf: int, entry: bytes, personal: Mapping[str, Any], origin: str
) -> dict[str, Any]:
    """The event of that leaf; `personal` is what the caller's own values say, empty where they are erased or kept back.

    `metadata.uid` is the event's id and `metadata.sequence` its leaf: by either of them one that comes again is known.
    """
    event_class = _class_of(row)
    activity = _activity(row, event_class)
    named = event_class.activities.get(activity, row["action"])
    event = {
        "class_uid": event_class.uid,
        "class_name": event_class.name,
        "category_uid": event_class.category_uid,
        "category_name": event_class.category_name,
        "activity_id": activity,
        "activity_name": named,
        "type_uid": event_class.uid * 100 + activity,
        "type_name": f"{event_class.name}: {named if activity != OTHER else 'Other'}",
        "time": _milliseconds(row["occurred_at"]),
        "message": f"{row['action']}: {row['outcome']}",
        **_verdict(row),
        "metadata": _metadata(row, leaf, origin),
        "actor": {"user": _user(row["actor_id"], _ACTORS[row["actor_kind"]])},
        "src_endpoint": _endpoint(personal.get("address")),
        **_details(row, event_class),
        "unmapped": _unmapped(row, entry, personal),
    }
    request = {"uid": row["request_id"], "user_agent": row["client"]}
    return _stated(event | {"http_request": _stated(request)})


def _class_of(row: Mapping[str, Any]) -> EventClass:
    if row["action"] == _SIGN_IN and row["actor_kind"] == "SYSTEM" and row["on_behalf_of_id"] is not None:
        return AUTHENTICATION
    if len(_accounts(row)) == 1 and row["action"] in _ACCOUNT_ACTIONS:
        return ACCOUNT_CHANGE
    if len(_accounts(row)) == 1 and row["action"] in _ROLE_ACTIONS:
        return USER_ACCESS
    if row["permission_class"] == "ADMIN_WRITE" and row["resource_ids"]:
        return ENTITY_MANAGEMENT
    return API_ACTIVITY


def _activity(row: Mapping[str, Any], event_class: EventClass) -> int:
    before, after = row["before"], row["after"]
    if event_class is AUTHENTICATION:
        return 1
    if event_class is ACCOUNT_CHANGE:
        if "deactivatedAt" in (after or {}):
            return 5
        return 1 if row["action"] == "guildhall:service-account:change" and before is None else OTHER
    if event_class is USER_ACCESS:
        return 2 if after is None else 1
    if row["permission_class"].endswith("_READ"):
        return 2
    changed = {(False, True): 1, (True, True): 3, (True, False): 4}
    return changed.get((before is not None, after is not None), OTHER)


def _details(row: Mapping[str, Any], event_class: EventClass) -> dict[str, Any]:
    """What the class asks for beside what all events have."""
    resources = [
        {"type": kind, "uid": str(key)} for kind, key in zip(row["resource_types"], row["resource_ids"], strict=True)
    ]
    if event_class is API_ACTIVITY:
        return {"api": {"operation": row["action"], "service": {"name": PRODUCT}}, "resources": resources or None}
    if event_class is AUTHENTICATION:
        return {"user": _user(row["on_behalf_of_id"], _ACCOUNTS["User"]), "service": {"name": PRODUCT}}
    if event_class is ENTITY_MANAGEMENT:
        return {"entity": {"type_id": OTHER, **resources[0]}}
    ((kind, key),) = _accounts(row)
    user = {"user": _user(key, _ACCOUNTS[kind])}
    return user if event_class is ACCOUNT_CHANGE else {**user, "privileges": _privileges(row)}


def _privileges(row: Mapping[str, Any]) -> list[str]:
    said = row["after"] or row["before"] or {}
    roles = said.get("roles") or [said.get("role")]
    return [str(role) for role in roles if role is not None] or [row["action"]]


def _accounts(row: Mapping[str, Any]) -> list[tuple[str, UUID]]:
    pairs = zip(row["resource_types"], row["resource_ids"], strict=True)
    return [(kind, key) for kind, key in pairs if kind in _ACCOUNTS]


def _verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    refused = row["outcome"] == Outcome.REFUSED
    status, name = {
        Outcome.STARTED: (OTHER, "Started"),
        Outcome.REFUSED: (FAILURE, "Failure"),
        Outcome.ABORTED: (FAILURE, "Failure"),
    }.get(row["outcome"], (SUCCESS, "Success"))
    severity = HIGH if row["action"] in _ALARMING else MEDIUM if refused else INFORMATIONAL
    return {
        "severity_id": severity,
        "severity": {INFORMATIONAL: "Informational", MEDIUM: "Medium", HIGH: "High"}[severity],
        "status_id": status,
        "status": name,
        "status_code": row["reason_code"],
        "status_detail": row["reason_message"],
    }


def _metadata(row: Mapping[str, Any], leaf: int, origin: str) -> dict[str, Any]:
    return _stated(
        {
            "version": VERSION,
            "product": {"name": PRODUCT, "vendor_name": PRODUCT},
            "uid": str(row["id"]),
            "sequence": leaf,
            "event_code": row["action"],
            "correlation_uid": row["request_id"],
            "log_name": "audit",
            "log_provider": PRODUCT,
            "original_time": _in_zone(row["occurred_at"]).isoformat(),
            "tenant_uid": origin,
        }
    )


def _unmapped(row: Mapping[str, Any], entry: bytes, personal: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: as_json(row[name]) for name in _UNMAPPED}
    resources = [f"{kind}:{key}" for kind, key in zip(row["resource_types"], row["resource_ids"], strict=True)]
    said = {"resources": resources, "entry": entry.hex(), "justification": personal.get("justification")}
    return _stated(kept | said)


def _user(key: UUID, kind: tuple[int, str]) -> dict[str, Any]:
    return {"uid": str(key), "type_id": kind[0], "type": kind[1]}


def _endpoint(address: object) -> dict[str, str]:
    """Where it came from; the platform itself where no address is known, or none that is one."""
    try:
        return {"ip": str(ip_address(str(address)))}
    except ValueError:
        return {"svc_name": PRODUCT}


def _milliseconds(moment: datetime) -> int:
    return int(_in_zone(moment).timestamp() * 1000)


def _in_zone(moment: datetime) -> datetime:
    """An infinity has no zone, and is as far away as a calendar goes; somebody's own row shall not stop the stream."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not there: the framework leaves out, it has no nulls."""
    return {name: value for name, value in values.items() if value is not None and value != {}}
