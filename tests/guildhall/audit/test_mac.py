"""An audit row that was edited or made up does not verify."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildhall.audit.mac import AuditKey, canonical, compute_mac, verify_row
from guildhall.audit.tables import AuditEvent

KEY = AuditKey(b"k" * 32)
COLUMNS = [column.name for column in AuditEvent.__table__.columns if column.name != "xid"]
MOMENT = datetime(2026, 3, 2, 8, 0, 0, 123456, tzinfo=UTC)


def signed(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {
        "id": UUID(int=1),
        "occurred_at": MOMENT,
        "actor_kind": "USER",
        "actor_id": UUID(int=2),
        "action": "registry:dataset:read",
        "permission_class": "DATA_READ",
        "outcome": "ALLOWED",
        "resource_types": ["Dataset"],
        "resource_ids": [UUID(int=3)],
        "before": {"a": [1, None, "é"]},
        "mac_key": KEY.name,
        **changes,
    }
    return {**row, "mac": compute_mac(KEY, row)}


class TestVerifyRow:
    def test_a_row_as_it_was_written(self) -> None:
        assert verify_row(KEY, signed())

    @pytest.mark.parametrize("name", COLUMNS)
    def test_no_column_can_be_changed(self, name: str) -> None:
        row = signed()
        other = b"x" * 32 if name == "mac" else "something else"
        assert not verify_row(KEY, {**row, name: other})

    def test_another_key_does_not_do(self) -> None:
        assert not verify_row(AuditKey(b"l" * 32), signed())
        forged = {**signed(), "mac_key": AuditKey(b"l" * 32).name}
        assert not verify_row(AuditKey(b"l" * 32), forged)

    def test_a_value_cannot_wander_into_another_column(self) -> None:
        assert canonical(signed(purpose="x")) != canonical(signed(client="x"))

    @given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
    def test_different_lists_are_different_bytes(self, left: list[str], right: list[str]) -> None:
        same = canonical(signed(resource_types=left)) == canonical(signed(resource_types=right))
        assert same == (left == right)


class TestCanonical:
    def test_a_moment_is_the_same_in_every_zone(self) -> None:
        elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30)))
        assert canonical({"at": MOMENT}) == canonical({"at": elsewhere}) == b'{"at":"2026-03-02T08:00:00.123456+00:00"}'

    def test_an_infinity_is_as_far_as_a_calendar_goes_and_in_no_zone(self) -> None:
        assert canonical({"at": datetime.max}) == b'{"at":"9999-12-31T23:59:59.999999"}'  # noqa: DTZ901 -- as the driver
        assert canonical({"at": datetime.min}) == b'{"at":"0001-01-01T00:00:00.000000"}'  # noqa: DTZ901 -- the same

    def test_the_order_of_names_does_not_matter(self) -> None:
        assert canonical({"b": 1, "a": UUID(int=7)}) == canonical({"a": UUID(int=7), "b": 1})

    def test_it_takes_only_what_it_can_say_in_one_way(self) -> None:
        with pytest.raises(AssertionError, match="holds no object"):
            canonical({"a": object()})
        with pytest.raises(ValueError, match="JSON"):
            canonical({"a": float("nan")})


class TestAuditKey:
    def test_it_has_a_name_and_keeps_its_secret(self) -> None:
        assert KEY.name == AuditKey(b"k" * 32).name
        assert KEY.name != AuditKey(b"l" * 32).name
        assert "kkkk" not in repr(KEY)
