"""What can be told. The names are what people filter by and what leaves the house, so they stay."""

from enum import StrEnum


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
