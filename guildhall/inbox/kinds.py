"""What can be told. The names are what people filter by and what leaves the house, so they stay."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class EventKind(StrEnum):
    """What happened, or is about to."""

    JOB_ENDED = "JOB_ENDED"
    HOLD_RELEASED = "HOLD_RELEASED"
    ACCESS_ASKED = "ACCESS_ASKED"
    ACCESS_DECIDED = "ACCESS_DECIDED"
    ACCESS_WITHDRAWN = "ACCESS_WITHDRAWN"
    ACCESS_ENDS = "ACCESS_ENDS"
    ACCESS_ALERT = "ACCESS_ALERT"
    ALLOCATION_ENDS = "ALLOCATION_ENDS"
    LOOSENING_ASKED = "LOOSENING_ASKED"
    LOOSENING_DECIDED = "LOOSENING_DECIDED"
    LOOSENING_WITHDRAWN = "LOOSENING_WITHDRAWN"


NEEDED: Mapping[EventKind, str] = MappingProxyType(
    {
        EventKind.JOB_ENDED: "scheduler:job:read",
        EventKind.HOLD_RELEASED: "marketplace:wallet:read",
        EventKind.ACCESS_ASKED: "registry:access:read",
        EventKind.ACCESS_DECIDED: "registry:access:read",
        EventKind.ACCESS_WITHDRAWN: "registry:access:read",
        EventKind.ACCESS_ENDS: "registry:access:read",
        EventKind.ACCESS_ALERT: "registry:alert:read",
        EventKind.ALLOCATION_ENDS: "marketplace:wallet:read",
        EventKind.LOOSENING_ASKED: "registry:access:read",
        EventKind.LOOSENING_DECIDED: "registry:access:read",
        EventKind.LOOSENING_WITHDRAWN: "registry:access:read",
    }
)
"""What it takes to read of it: in the team, to have it sent somewhere; of a limited token, to see it in the inbox."""
