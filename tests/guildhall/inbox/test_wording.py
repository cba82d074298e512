"""What people read of each kind of event, word for word."""

from typing import Any

import pytest

from guildhall.inbox.kinds import EventKind
from guildhall.inbox.wording import TITLE_CHARACTERS_MAX, Wording, worded

JOB = {
    "job": "train-gauges", "state": "SUCCEEDED", "message": "the command ended well",
    "held": "12.5", "captured": "3", "released": "9.5",
}  # fmt: skip
DATA = {"resources": ["maintenance/gauge-digits@2"], "purpose": "quality"}
ENDS = "2026-04-01T08:00:00+00:00"

SENTENCES: list[tuple[EventKind, dict[str, Any], str, str]] = [
    (EventKind.JOB_ENDED, JOB, "Job train-gauges succeeded", "The command ended well; 3 credits charged."),
    (
        EventKind.JOB_ENDED,
        {**JOB, "state": "EXPIRED", "message": "", "captured": "0"},
        "Job train-gauges was not started in time",
        "; 0 credits charged.",
    ),
    (
        EventKind.HOLD_RELEASED,
        JOB,
        "9.5 credits of job train-gauges are free again",
        "Of the 12.5 credits that were held, 3 were charged.",
    ),
    (
        EventKind.ACCESS_ASKED,
        {**DATA, "requester": "Quinn", "for": "the team quality", "justification": "Why.", "durationSeconds": 1209600},
        "Quinn asks for access to maintenance/gauge-digits@2",
        "For the team quality, for the purpose quality, for 14 days: Why.",
    ),
    (
        EventKind.ACCESS_ASKED,
        {
            "resources": ["a/b", "a/c", "a/d", "a/e", "a/f"], "purpose": None, "requester": "Anna",
            "for": "the team a", "justification": "Ours.", "durationSeconds": 86400,
        },
        "Anna asks for access to a/b, a/c, a/d and 2 more",
        "For the team a, for every permitted purpose, for a day: Ours.",
    ),
    (
        EventKind.ACCESS_DECIDED,
        {**DATA, "state": "APPROVED", "by": "Mia", "reason": "Fine.", "validTo": ENDS},
        "Access to maintenance/gauge-digits@2 is granted",
        "Mia approved it for the purpose quality, until 2026-04-01 08:00 UTC. Fine.",
    ),
    (
        EventKind.ACCESS_DECIDED,
        {**DATA, "state": "REFUSED", "by": "Mia", "reason": "Too much.", "validTo": None},
        "Access to maintenance/gauge-digits@2 was refused",
        "Mia refused it. Too much.",
    ),
    (
        EventKind.ACCESS_WITHDRAWN,
        {**DATA, "by": "Mia", "reason": "Over."},
        "Access to maintenance/gauge-digits@2 was withdrawn",
        "Mia ended it. Over.",
    ),
    (
        EventKind.ACCESS_ENDS,
        {**DATA, "for": "Paul", "validTo": ENDS},
        "Access to maintenance/gauge-digits@2 ends at 2026-04-01 08:00 UTC",
        "It is for Paul, for the purpose quality. To renew it, ask for access again.",
    ),
    (
        EventKind.ACCESS_ALERT,
        {"dataset": "maintenance/gauge-digits", "message": "Paul read much."},
        "Unusual reading of maintenance/gauge-digits",
        "Paul read much.",
    ),
    (
        EventKind.ALLOCATION_ENDS,
        {"team": "quality", "programme": "zero-defects", "remaining": "40", "validTo": ENDS},
        "40 credits of quality expire at 2026-04-01 08:00 UTC",
        "They are for zero-defects: spend them, send them to another team, or return them.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "facts", "title", "text"), SENTENCES)
def test_says_what_happened(kind: EventKind, facts: dict[str, Any], title: str, text: str) -> None:
    assert worded(kind, facts) == Wording(title, text)


@pytest.mark.parametrize("kind", EventKind)
def test_facts_that_are_missing_are_a_question_mark(kind: EventKind) -> None:
    said = worded(kind, {"resources": [], "purpose": None})
    assert "?" in said.title + said.text


def test_a_duration_is_in_the_unit_that_people_use() -> None:
    asked = {**DATA, "requester": "Quinn", "for": "Paul", "justification": "Why."}
    said = [worded(EventKind.ACCESS_ASKED, {**asked, "durationSeconds": each}).text for each in (60, 5400, 86400 * 2)]
    assert [text.split(", ")[2] for text in said] == ["for 1 minutes: Why.", "for 90 minutes: Why.", "for 2 days: Why."]


def test_a_title_is_one_line_of_bounded_length() -> None:
    said = worded(EventKind.JOB_ENDED, {**JOB, "job": "a\r\nBcc: all@example.org\t" + "x" * 300})
    assert said.title.startswith("Job a Bcc: all@example.org xxx")
    assert len(said.title) == TITLE_CHARACTERS_MAX
    assert said.title.endswith("…")
