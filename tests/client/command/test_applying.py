"""apply: plan, question, all or nothing."""

from collections.abc import Callable

import pytest

from tests.client.command.conftest import Command

ORGANISATION = """
teams:
  - {name: maintenance, title: Maintenance}
  - {name: laboratory}
periods:
  - {name: half, startsAt: 2026-01-01T00:00:00Z, endsAt: 2026-07-01T00:00:00Z}
"""
PLAN = """\
+ Team laboratory
    title: laboratory
+ Period half
    startsAt: 2026-01-01T00:00:00Z
    endsAt: 2026-07-01T00:00:00Z
Plan: 2 to make, 0 to change, 0 to remove, 1 as they are.
"""
CHANGED = """
teams: [{name: laboratory, title: Lab}]
periods: [{name: half, startsAt: 2026-01-01T00:00:00+00:00, endsAt: 2026-08-01T00:00:00Z}]
pools: [{name: forge-small, cluster: this-machine, accelerator: sim-a10, slots: 3}]
members:
  - {email: mira@guildhall.example, team: laboratory, roles: [viewer]}
  - {email: milan@guildhall.example, team: maintenance, roles: []}
  - {email: quentin@guildhall.example, team: quality, roles: [contributor, maintainer]}
  - {email: stella@guildhall.example, team: maintenance, roles: [viewer]}
serviceAccounts:
  - {team: laboratory, name: nightly, roles: [contributor]}
priceLists:
  - name: trial
    validFrom: 2999-01-01T00:00:00Z
    rates:
      - {pool: forge-small, tier: STANDARD, creditsPerHour: "6.50"}
      - pool: forge-small
        tier: STANDARD
        creditsPerHour: "3"
        hours: {days: [SUNDAY, MONDAY], from: "22:00", to: "06:00"}
"""
CHANGED_PLAN = """\
~ Team laboratory
    title: laboratory → Lab
+ Membership mira@guildhall.example in laboratory
    role: viewer
- Membership milan@guildhall.example in maintenance
    - role: contributor
~ Membership quentin@guildhall.example in quality
    + role: contributor
~ Membership stella@guildhall.example in maintenance
    - role: steward
    + role: viewer
+ ServiceAccount nightly of laboratory
    role: contributor
~ Period half
    endsAt: 2026-07-01T00:00:00Z → 2026-08-01T00:00:00Z
~ Pool forge-small
    wattsPerAccelerator: 150 → 0
    walltimeSecondsMax: 3600 → 86400
    slots: 2 → 3
    slotsPerNode: 2 → 3
+ PriceList trial
    validFrom: 2999-01-01T00:00:00Z
    rate of forge-small STANDARD: 6.5
    rate of forge-small STANDARD MONDAY,SUNDAY 22:00-06:00: 3
Plan: 3 to make, 5 to change, 1 to remove, 1 as they are.
"""
CHEAPER = """
priceLists:
  - name: trial
    validFrom: 2999-01-01T00:00:00Z
    rates:
      - {pool: forge-small, tier: STANDARD, creditsPerHour: "5"}
      - {pool: forge-small, tier: PREEMPTIBLE, creditsPerHour: "1"}
"""
CHEAPER_PLAN = """\
~ PriceList trial
    rate of forge-small STANDARD: 6.5 → 5
    - rate of forge-small STANDARD MONDAY,SUNDAY 22:00-06:00: 3
    + rate of forge-small PREEMPTIBLE: 1
Plan: 0 to make, 1 to change, 0 to remove, 0 as they are.
"""


@pytest.fixture
def pat(person: Callable[[str], Command]) -> Command:
    """An administrator."""
    made = person("pat")
    (made.folder / "o.yaml").write_text(ORGANISATION)
    return made


def test_from_plan_to_peace(pat: Command) -> None:
    apply = ["apply", "-f", "o.yaml"]
    planned = pat(*apply, "--plan")
    assert (planned.code, planned.out, planned.err) == (7, PLAN, "")
    unasked = pat(*apply)
    assert (unasked.code, unasked.out) == (2, PLAN)
    assert unasked.err.endswith("say yes beforehand with --yes.\n")
    with pat.terminal(*apply) as terminal:
        terminal.until("Make these 2 changes? [y/N]: ")
        terminal.press("n\r")
        assert terminal.end() == 130
    told = pat(*apply, "--plan", "--json")
    titled = [{"field": "title", "before": None, "after": "laboratory"}]
    assert (told.code, told.json["applied"]) == (7, False)
    assert told.json["changes"][:2] == [
        {"kind": "Team", "name": "maintenance", "action": "UNCHANGED", "differences": []},
        {"kind": "Team", "name": "laboratory", "action": "CREATED", "differences": titled},
    ]
    done = pat.ok(*apply, "--yes")
    assert (done.out, done.err) == (PLAN, "2 changes are made.\n")
    again = pat.ok(*apply, "--yes")
    assert (again.out, again.err) == (
        "Plan: 0 to make, 0 to change, 0 to remove, 3 as they are.\n",
        "Everything is so already.\n",
    )
    assert pat.ok(*apply, "--plan").err == "Everything is so already.\n"
    (pat.folder / "o.yaml").write_text(CHANGED)
    assert pat(*apply, "--plan").out == CHANGED_PLAN


def test_a_price_list_has_exactly_its_rates(pat: Command) -> None:
    (pat.folder / "o.yaml").write_text("priceLists:" + CHANGED.partition("priceLists:")[2])
    pat.ok("apply", "-f", "o.yaml", "--yes")
    (pat.folder / "o.yaml").write_text(CHEAPER)
    planned = pat("apply", "-f", "o.yaml", "--plan")
    assert (planned.code, planned.out) == (7, CHEAPER_PLAN)


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        ("bogus: 1", 2, "o.yaml has bogus, which is none of teams, members"),
        ("teams: [{", 2, "o.yaml, line 1: "),
        ("- a", 2, "o.yaml must hold names and values"),
        ("teams: [{name: Not A Slug}]", 1, "'Not A Slug' cannot be a name"),
        ("teams: 5", 1, "TeamInput"),
        ("teams: !!python/object:os.system []", 2, "o.yaml, line 1: "),
        ("\x00", 2, "o.yaml is no YAML"),
        ("teams: [{name: .nan}]", 2, "o.yaml holds what is none of texts, numbers, true, false"),
        ("teams: !!binary aGFsbG8=", 2, "o.yaml holds what is none of texts, numbers, true, false"),
        ("teams: &teams [*teams]", 2, "o.yaml holds what is none of texts, numbers, true, false"),
    ],
)
def test_refused(pat: Command, content: str, code: int, sentence: str) -> None:
    (pat.folder / "o.yaml").write_text(content)
    ended = pat("apply", "-f", "o.yaml", "--yes")
    assert (ended.code, ended.out) == (code, "")
    assert sentence in ended.err


def test_a_huge_file(pat: Command) -> None:
    (pat.folder / "o.yaml").write_text("#" * (4 * 1024**2 + 1))
    ended = pat("apply", "-f", "o.yaml", "--yes")
    assert (ended.code, "is it the right file?" in ended.err) == (2, True)


def test_who_may_not(mira: Command) -> None:
    (mira.folder / "o.yaml").write_text("teams: [{name: mine}]")
    assert mira("apply", "-f", "o.yaml", "--yes").code == 4


def test_a_program_is_not_asked(pat: Command) -> None:
    ended = pat("apply", "-f", "o.yaml", "--json")
    assert (ended.code, "--yes or --plan" in ended.err) == (2, True)
