"""Every event that the product can record has a form in OCSF that its schema allows, and says what the event says."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from guildhall.audit.ocsf import ocsf_event
from guildhall.auth.permissions import PERMISSIONS
from tests.guildhall.audit.ocsf_schema import problems

ACTOR, OTHER, TEAM = UUID(int=1), UUID(int=2), UUID(int=3)
AT = datetime(2026, 3, 2, 8, 0, 0, 250_000, tzinfo=UTC)
READ = "registry:dataset:read"


def row(action: str = READ, *resources: tuple[str, UUID], **more: Any) -> dict[str, Any]:
    """An event as the database gives it."""
    return {
        "id": UUID(int=9), "act_at": AT, "occurred_at": AT, "actor_kind": "USER", "actor_id": ACTOR,
        "on_behalf_of_id": None, "team_id": None, "action": action,
        "permission_class": PERMISSIONS[action].permission_class.value, "outcome": "ALLOWED",
        "resource_types": [kind for kind, _ in resources], "resource_ids": [key for _, key in resources],
        "purpose": None, "access_grant_id": None, "reason_code": None, "reason_message": None, "request_id": None,
        "client": None, "rows": None, "bytes": None, "before": None, "after": None, "concludes_id": None,
    } | more  # fmt: skip


def said(event: dict[str, Any], **personal: Any) -> dict[str, Any]:
    made = ocsf_event(event, leaf=7, entry=b"\1" * 32, personal=personal, origin="guildhall.example/audit")
    assert problems(made) == []
    return made


class TestOcsfEvent:
    def test_a_read_of_data_whole(self) -> None:
        event = row(
            READ, ("DatasetVersion", OTHER), ("Dataset", TEAM), team_id=TEAM, purpose="quality", access_grant_id=OTHER,
            outcome="COMPLETED", rows=12, bytes=345, request_id="r-1", client="guildhall/1", concludes_id=UUID(int=8),
        )  # fmt: skip
        assert said(event, address="192.0.2.7", justification="a check") == {
            "class_uid": 6003, "class_name": "API Activity", "category_uid": 6, "category_name": "Application Activity",
            "activity_id": 2, "activity_name": "Read", "type_uid": 600302, "type_name": "API Activity: Read",
            "time": 1772438400250, "message": "registry:dataset:read: COMPLETED",
            "severity_id": 1, "severity": "Informational", "status_id": 1, "status": "Success",
            "metadata": {
                "version": "1.5.0", "product": {"name": "Guildhall", "vendor_name": "Guildhall"},
                "uid": "00000000-0000-0000-0000-000000000009", "sequence": 7, "event_code": READ,
                "correlation_uid": "r-1", "log_name": "audit", "log_provider": "Guildhall",
                "original_time": "2026-03-02T08:00:00.250000+00:00", "tenant_uid": "guildhall.example/audit",
            },
            "actor": {"user": {"uid": str(ACTOR), "type_id": 1, "type": "User"}},
            "src_endpoint": {"ip": "192.0.2.7"},
            "api": {"operation": READ, "service": {"name": "Guildhall"}},
            "resources": [
                {"type": "DatasetVersion", "uid": str(OTHER)}, {"type": "Dataset", "uid": str(TEAM)},
            ],
            "unmapped": {
                "permission_class": "DATA_READ", "outcome": "COMPLETED", "team_id": str(TEAM), "purpose": "quality",
                "access_grant_id": str(OTHER), "rows": 12, "bytes": 345, "concludes_id": str(UUID(int=8)),
                "act_at": "2026-03-02T08:00:00.250000+00:00",
                "resources": [f"DatasetVersion:{OTHER}", f"Dataset:{TEAM}"],
                "entry": "01" * 32, "justification": "a check",
            },
            "http_request": {"uid": "r-1", "user_agent": "guildhall/1"},
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("event", "uid", "activity"),
        [
            (row("guildhall:user:change", ("User", OTHER)), 3001, 99),
            (row("guildhall:user:change", ("User", OTHER), after={"deactivatedAt": "2026"}), 3001, 5),
            (row("guildhall:user:change", ("User", OTHER), ("User", ACTOR)), 3004, 99),
            (row("guildhall:user:change"), 6003, 99),
            (row("guildhall:service-account:change", ("ServiceAccount", OTHER), after={"name": "ci"}), 3001, 1),
            (row("guildhall:service-account:change", ("ServiceAccount", OTHER), before={}, after={}), 3001, 99),
            (row("guildhall:token:issue", ("Token", TEAM), ("User", OTHER)), 3001, 99),
            (
                row("guildhall:token:issue", ("Token", TEAM), actor_kind="SYSTEM", on_behalf_of_id=OTHER, after={}),
                3002, 1,
            ),
            (row("guildhall:token:issue", ("Token", TEAM), ("User", OTHER), actor_kind="SYSTEM"), 3001, 99),
            (row("guildhall:team:change", ("Team", TEAM), after={"title": "x"}), 3004, 1),
            (row("guildhall:team:change", ("Team", TEAM), before={"title": "y"}, after={"title": "x"}), 3004, 3),
            (row("guildhall:team:change", ("Team", TEAM), before={"title": "y"}), 3004, 4),
            (row("guildhall:role:bind", ("User", OTHER), before={"role": "viewer"}), 3005, 2),
            (row("registry:model:register", ("Model", OTHER), after={"name": "x"}), 6003, 1),
            (row("registry:model:publish", ("ModelVersion", OTHER)), 6003, 99),
        ],
        ids=str,
    )  # fmt: skip
    def test_class_and_activity(self, event: dict[str, Any], uid: int, activity: int) -> None:
        made = said(event)
        assert (made["class_uid"], made["activity_id"]) == (uid, activity)
        assert made["type_name"].endswith("Other") is (activity == 99)

    @pytest.mark.parametrize(
        ("facts", "want"),
        [
            ({"after": {"role": "auditor"}}, ["auditor"]),
            ({"before": {"roles": ["viewer"]}, "after": {"roles": ["steward", "auditor"]}}, ["steward", "auditor"]),
            ({"before": {"role": "viewer"}}, ["viewer"]),
            ({}, ["guildhall:role:bind"]),
        ],
    )
    def test_roles_are_privileges(self, facts: dict[str, Any], want: list[str]) -> None:
        made = said(row("guildhall:role:bind", ("User", OTHER), ("Team", TEAM), **facts))
        assert made["privileges"] == want
        assert made["user"] == {"uid": str(OTHER), "type_id": 1, "type": "User"}

    @pytest.mark.parametrize(
        ("outcome", "status", "severity"),
        [
            ("ALLOWED", (1, "Success"), 1),
            ("STARTED", (99, "Started"), 1),
            ("ABORTED", (2, "Failure"), 1),
            ("REFUSED", (2, "Failure"), 3),
        ],
    )
    def test_how_it_ended(self, outcome: str, status: tuple[int, str], severity: int) -> None:
        made = said(row(outcome=outcome, reason_code="NO", reason_message="No."))
        assert (made["status_id"], made["status"]) == status
        assert made["severity_id"] == severity
        assert (made["status_code"], made["status_detail"]) == ("NO", "No.")

    def test_an_emergency_is_an_alarm(self) -> None:
        made = said(row("guildhall:role:take", ("User", ACTOR), after={"role": "administrator"}))
        assert (made["class_uid"], made["severity"]) == (3005, "High")

    @pytest.mark.parametrize("address", [None, "unix:", ""])
    def test_without_an_address_it_is_the_platform(self, address: str | None) -> None:
        assert said(row(), address=address)["src_endpoint"] == {"svc_name": "Guildhall"}

    @pytest.mark.parametrize("action", sorted(PERMISSIONS))
    @pytest.mark.parametrize("kind", ["USER", "SERVICE_ACCOUNT", "JOB", "SYSTEM"])
    def test_every_action_is_valid(self, action: str, kind: str) -> None:
        for resources in ((), (("User", OTHER),), (("Dataset", OTHER), ("Team", TEAM))):
            for changed in ({}, {"after": {"name": "x"}}, {"before": {"name": "y"}, "after": {"name": "x"}}):
                said(row(action, *resources, actor_kind=kind, on_behalf_of_id=OTHER, **changed), address="2001:db8::1")


class TestTheSchema:
    """What the check itself finds."""

    @pytest.mark.parametrize(
        ("change", "want"),
        [
            ({"class_uid": 1}, "class_uid: 1 is no class that we know"),
            ({"time": "now"}, "time: 'now' is no timestamp_t"),
            ({"severity_id": 17}, "severity_id: 17 is none of [0, 1, 2, 3, 4, 5, 6, 99]"),
            ({"colour": "red"}, "colour: no such attribute"),
            ({"actor": {}}, "actor.: at least one of process, user, invoked_by, session, app_name, app_uid"),
            ({"src_endpoint": {"ip": "here"}}, "src_endpoint.ip: 'here' is no ip_t"),
            ({"resources": {}}, "resources: no list"),
            ({"api": {}}, "api.operation: required"),
            ({"type_uid": 600301}, "type_uid: not made of class and activity"),
        ],
    )
    def test_finds(self, change: dict[str, Any], want: str) -> None:
        assert want in problems(said(row()) | change)

    @pytest.mark.parametrize(
        ("moment", "milliseconds", "year"),
        [
            (datetime.max, 253402300800000, "9999"),  # noqa: DTZ901 -- the infinities, as the driver gives them
            (datetime.min, -62135596800000, "0001"),  # noqa: DTZ901 -- the same
        ],
    )
    def test_of_a_moment_that_no_clock_says(self, moment: datetime, milliseconds: int, year: str) -> None:
        """Somebody's own row, which shall not stop the stream."""
        event = ocsf_event(row(occurred_at=moment), leaf=7, entry=b"", personal={}, origin="here")
        assert (event["time"], event["metadata"]["original_time"][:4]) == (milliseconds, year)
