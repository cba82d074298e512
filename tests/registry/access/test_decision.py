"""The one rule about access, as a table: who, what, when, for what purpose, under which grants."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from guildhall.auth.resources import ResourceRef
from registry.access.decision import AccessDecision, decide
from registry.access.facts import Grant, Guarded, GuardedSource
from registry.minimisation.filters import DataFilter, data_filter

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
OWNERS, READERS = UUID(int=1), UUID(int=2)
DATASET, VERSION, OTHER_VERSION, OTHER_DATASET, MODEL = (UUID(int=number) for number in range(10, 15))
ASK = (
    "Ask the stewards mia@example.org, omar@example.org with requestAccess, for one of the purposes quality, research."
)

OPEN = Guarded(
    resource=ResourceRef("DatasetVersion", VERSION),
    team_id=OWNERS,
    visibility="ORGANISATION",
    classification="PUBLIC",
    permitted_purposes=frozenset({"quality", "research"}),
    retention_ends_on=None,
    ready=True,
    own_keys=frozenset({DATASET, VERSION}),
    dataset_id=DATASET,
    stewards=("mia@example.org", "omar@example.org"),
)
CLOSED = replace(OPEN, classification="CONFIDENTIAL")
MADE_OF_TWO = replace(
    CLOSED,
    resource=ResourceRef("ModelVersion", MODEL),
    own_keys=frozenset({MODEL}),
    dataset_id=None,
    sources=(
        GuardedSource(dataset_id=DATASET, version_id=VERSION, columns=frozenset({"image", "digit"})),
        GuardedSource(dataset_id=OTHER_DATASET, version_id=OTHER_VERSION, columns=frozenset({"text"})),
    ),
)


def grant(number: int = 100, *names: UUID, **given: object) -> Grant:
    values: dict[str, object] = {
        "team_id": READERS,
        "resource_ids": frozenset(names or {DATASET}),
        "purpose": "quality",
        "justification": "We compare gauges.",
        "limits": None,
        "valid_from": AT - HOUR,
        "valid_to": AT + HOUR,
        "withdrawn_at": None,
        **given,
    }
    return Grant(id=UUID(int=number), **values)  # type: ignore[arg-type]


def only(*columns: str, first_rows: int | None = None) -> DataFilter:
    limits = data_filter(columns or None, first_rows, None)
    assert limits is not None
    return limits


def ask(
    facts: Guarded | None, *grants: Grant, purpose: str | None = None, teams: frozenset[UUID] = frozenset({READERS})
) -> AccessDecision:
    return decide(facts, grants, team_ids=teams, purpose=purpose, at=AT)


def code(decision: AccessDecision) -> str | None:
    assert decision.allowed == (decision.reason is None)
    return None if decision.reason is None else decision.reason.code


class TestByRole:
    @pytest.mark.parametrize(
        ("classification", "visibility", "teams", "want"),
        [
            ("PUBLIC", "ORGANISATION", set(), None),
            ("PUBLIC", "ORGANISATION", {READERS}, None),
            ("PUBLIC", "TEAM", {OWNERS}, None),
            ("PUBLIC", "TEAM", {READERS}, "ROLE_REQUIRED"),
            ("PUBLIC", "TEAM", set(), "ROLE_REQUIRED"),
            ("INTERNAL", "ORGANISATION", set(), "ROLE_REQUIRED"),
            ("INTERNAL", "ORGANISATION", {READERS}, None),
            ("INTERNAL", "TEAM", {OWNERS, READERS}, None),
            ("INTERNAL", "TEAM", {READERS}, "ROLE_REQUIRED"),
            ("CONFIDENTIAL", "ORGANISATION", {OWNERS}, "ACCESS_GRANT_REQUIRED"),
            ("RESTRICTED", "ORGANISATION", {OWNERS}, "ACCESS_GRANT_REQUIRED"),
        ],
    )
    def test_table(self, classification: str, visibility: str, teams: set[UUID], want: str | None) -> None:
        facts = replace(OPEN, classification=classification, visibility=visibility)
        assert code(ask(facts, teams=frozenset(teams))) == want

    def test_no_grant_is_named_where_none_was_needed(self) -> None:
        assert ask(OPEN, grant(), purpose="quality") == AccessDecision(allowed=True, purpose="quality")


class TestBeforeAnythingElse:
    @pytest.mark.parametrize(
        ("facts", "purpose", "want"),
        [
            (None, None, "NOT_FOUND"),
            (replace(OPEN, ready=False), None, "NOT_READY"),
            (replace(OPEN, retention_ends_on=date(2026, 3, 2)), None, None),
            (replace(OPEN, retention_ends_on=date(2026, 3, 1)), None, "RETENTION_ENDED"),
            (replace(CLOSED, retention_ends_on=date(2026, 3, 1)), None, "RETENTION_ENDED"),
            (OPEN, "marketing", "PURPOSE_NOT_PERMITTED"),
            (replace(OPEN, permitted_purposes=None), "marketing", None),
            (replace(OPEN, permitted_purposes=frozenset()), "quality", "PURPOSE_NOT_PERMITTED"),
        ],
    )
    def test_table(self, facts: Guarded | None, purpose: str | None, want: str | None) -> None:
        assert code(ask(facts, grant(), purpose=purpose)) == want


class TestByGrant:
    @pytest.mark.parametrize(
        ("given", "purpose", "want"),
        [
            ({}, None, None),
            ({}, "quality", None),
            ({}, "research", "PURPOSE_NOT_GRANTED"),
            ({"purpose": None}, "research", None),
            ({"purpose": None}, None, None),
            ({"purpose": "marketing"}, None, "ACCESS_GRANT_REQUIRED"),  # granted once, no longer permitted
            ({"resource_ids": frozenset({VERSION})}, None, None),
            ({"resource_ids": frozenset({OTHER_VERSION})}, None, "ACCESS_GRANT_REQUIRED"),
            ({"valid_to": AT + timedelta(microseconds=1)}, None, None),
            ({"valid_to": AT}, None, "ACCESS_GRANT_ENDED"),
            ({"valid_from": AT}, None, None),
            ({"withdrawn_at": AT}, None, "ACCESS_GRANT_ENDED"),
            ({"withdrawn_at": AT + timedelta(microseconds=1)}, None, "ACCESS_GRANT_ENDED"),  # by a clock ahead of ours
            ({"limits": only("image", "digit", "more")}, None, None),
            ({"limits": only("image")}, None, None),
            ({"limits": only("image")}, "quality", None),
            ({"limits": only("image")}, "research", "PURPOSE_NOT_GRANTED"),
        ],
    )
    def test_table(self, given: dict[str, object], purpose: str | None, want: str | None) -> None:
        assert code(ask(CLOSED, replace(grant(), **given), purpose=purpose)) == want  # type: ignore[arg-type]

    def test_the_answer_names_grant_purpose_and_end(self) -> None:
        assert ask(CLOSED, grant()) == AccessDecision(
            allowed=True,
            grant_id=UUID(int=100),
            team_id=READERS,
            purpose="quality",
            justification="We compare gauges.",
            ends_at=AT + HOUR,
        )

    def test_the_grant_that_ends_last_is_named(self) -> None:
        grants = [grant(1), grant(2, valid_to=AT + 3 * HOUR), grant(3, valid_to=AT + 2 * HOUR)]
        assert ask(CLOSED, *grants).grant_id == UUID(int=2)

    def test_the_owners_grant_comes_before_one_for_a_purpose(self) -> None:
        grants = [grant(1, valid_to=AT + 3 * HOUR), grant(2, purpose=None)]
        assert ask(CLOSED, *grants).grant_id == UUID(int=2)
        assert ask(CLOSED, *grants, purpose="quality").grant_id == UUID(int=1)

    @pytest.mark.parametrize(
        ("grants", "purpose", "want"),
        [
            ([], None, f"It is CONFIDENTIAL and goes by access grant only. {ASK}"),
            ([grant(valid_to=AT)], None, f"Your access grant ended at 2026-03-02 08:00 UTC. {ASK}"),
            ([grant(withdrawn_at=AT - HOUR)], None, f"Your access grant was withdrawn at 2026-03-02 07:00 UTC. {ASK}"),
            ([grant()], "research", f"Your access grant is for quality, not for research. {ASK}"),
        ],
    )
    def test_each_refusal_says_how_to_ask(self, grants: list[Grant], purpose: str | None, want: str) -> None:
        decision = ask(CLOSED, *grants, purpose=purpose)
        assert decision.reason is not None
        assert decision.reason.message == want

    @pytest.mark.parametrize(
        ("given", "want"),
        [
            ({"stewards": ("mia@example.org",)}, "Ask the steward mia@example.org with requestAccess,"),
            ({"stewards": ()}, "Ask an administrator to name a steward, then ask with requestAccess,"),
            ({"permitted_purposes": frozenset()}, "for no purpose at all: its sources have none in common."),
            ({"permitted_purposes": None}, "for any purpose."),
            ({"permitted_purposes": frozenset({"quality"})}, "with requestAccess, for the purpose quality."),
        ],
    )
    def test_whom_and_what_for(self, given: dict[str, object], want: str) -> None:
        decision = ask(replace(CLOSED, **given))  # type: ignore[arg-type]
        assert decision.reason is not None
        assert want in decision.reason.message


class TestMadeOfData:
    @pytest.mark.parametrize(
        ("grants", "purpose", "want", "named"),
        [
            ([grant(1, MODEL)], None, None, 1),
            ([grant(1, MODEL)], "quality", None, 1),
            ([grant(1, DATASET)], None, "SOURCES_NOT_GRANTED", None),
            ([grant(1, DATASET), grant(2, OTHER_VERSION, valid_to=AT + HOUR / 2)], None, None, 2),
            ([grant(1, VERSION, OTHER_DATASET)], None, None, 1),
            ([grant(1, DATASET), grant(2, OTHER_DATASET, purpose="research")], None, "SOURCES_NOT_GRANTED", None),
            ([grant(1, DATASET, purpose=None), grant(2, OTHER_DATASET)], None, None, 1),
            ([grant(1, DATASET, OTHER_DATASET, limits=only("text"))], None, "COLUMNS_NOT_GRANTED", None),
            ([grant(1, DATASET), grant(2, OTHER_DATASET, valid_to=AT)], None, "SOURCES_NOT_GRANTED", None),
            ([grant(1, MODEL, valid_to=AT)], None, "ACCESS_GRANT_ENDED", None),
        ],
    )
    def test_table(self, grants: list[Grant], purpose: str | None, want: str | None, named: int | None) -> None:
        decision = ask(MADE_OF_TWO, *grants, purpose=purpose)
        assert code(decision) == want
        assert decision.grant_id == (None if named is None else UUID(int=named))

    @pytest.mark.parametrize(
        ("limits", "readings", "want"),
        [
            (only("image"), (only("image"),), None),
            (only("image"), (only("image"), only("image", "digit")), "COLUMNS_NOT_GRANTED"),
            (only("image", "digit"), (only("image"), only("digit", first_rows=9)), None),
            (only("image"), (only("image"), None), "COLUMNS_NOT_GRANTED"),
            (only("image"), (None,), "COLUMNS_NOT_GRANTED"),
            (only("image"), (), "COLUMNS_NOT_GRANTED"),
            (only(first_rows=9), (only(first_rows=9),), None),
            (only(first_rows=9), (only(first_rows=10),), "COLUMNS_NOT_GRANTED"),
            (only(first_rows=9), (only("image"),), "COLUMNS_NOT_GRANTED"),
            (only("image"), (only(first_rows=9),), "COLUMNS_NOT_GRANTED"),
            (None, (None,), None),
        ],
    )
    @pytest.mark.parametrize("team", [OWNERS, READERS])
    def test_a_narrowed_grant_opens_what_was_made_from_no_more(
        self, limits: DataFilter | None, readings: tuple[DataFilter | None, ...], want: str | None, team: UUID
    ) -> None:
        """Also of the team's own models: one of them may have been made from what another's grant opened."""
        source = replace(MADE_OF_TWO.sources[0], readings=readings)
        made = replace(MADE_OF_TWO, team_id=OWNERS, sources=(source,))
        assert code(ask(made, grant(1, limits=limits, team_id=team), teams=frozenset({team}))) == want

    def test_of_a_grant_for_each_source_the_one_that_ends_first_is_named(self) -> None:
        decision = ask(MADE_OF_TWO, grant(1, DATASET, valid_to=AT + 2 * HOUR), grant(2, OTHER_DATASET))
        assert decision.grant_id == UUID(int=2)

    def test_a_closed_model_whose_sources_are_unknown_needs_a_grant_of_its_own(self) -> None:
        orphan = replace(MADE_OF_TWO, sources=())
        assert code(ask(orphan, grant(1, DATASET))) == "ACCESS_GRANT_REQUIRED"
        assert code(ask(orphan, grant(1, MODEL))) is None
