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
+ Period half
    startsAt: 2026-01-01T00:00:00Z
    endsAt: 2026-07-01T00:00:00Z
Plan: 2 to make, 0 to change, 1 as they are.
"""
CHANGED = """
teams: [{name: laboratory, title: Lab}]
periods: [{name: half, startsAt: 2026-01-01T00:00:00+00:00, endsAt: 2026-08-01T00:00:00Z}]
pools: [{name: forge-small, cluster: this-machine, accelerator: sim-a10, slots: 3}]
members: [{email: mira@guildhall.example, team: laboratory, roles: [viewer]}]
"""


@pytest.fixture
def pat(person: Callable[[str], Command]) -> Command:
    """An administrator."""
    made = person("pat")
    (made.folder / "o.yaml").write_text(ORGANISATION)
    return made


def test_from_plan_to_peace(pat: Command) -> None:
    apply = ["apply", "-f", "o.yaml"]
    assert pat.ok(*apply, "--dry-run").out == PLAN
    unasked = pat(*apply)
    assert (unasked.code, unasked.out) == (2, PLAN)
    assert unasked.err.endswith("say yes beforehand with --yes.\n")
    with pat.terminal(*apply) as terminal:
        terminal.until("Make these 2 changes? [y/N]: ")
        terminal.press("n\r")
        assert terminal.end() == 130
    assert pat.ok(*apply, "--dry-run", "--json").json == {
        "applied": False,
        "changes": [
            {"kind": "Team", "name": "maintenance", "action": "UNCHANGED"},
            {"kind": "Team", "name": "laboratory", "action": "CREATED"},
            {"kind": "Period", "name": "half", "action": "CREATED"},
        ],
    }
    done = pat.ok(*apply, "--yes")
    assert (done.out, done.err) == (PLAN, "2 changes are made.\n")
    again = pat.ok(*apply, "--yes")
    assert (again.out, again.err) == (
        "Plan: 0 to make, 0 to change, 3 as they are.\n",
        "Everything is so already.\n",
    )
    (pat.folder / "o.yaml").write_text(CHANGED)
    changed = pat.ok(*apply, "--dry-run").out
    assert "~ Team laboratory\n    title: laboratory → Lab\n" in changed
    assert "~ Period half\n    endsAt: 2026-07-01T00:00:00.000000Z → 2026-08-01T00:00:00Z\n" in changed
    assert "~ Pool forge-small\n" in changed
    assert "    wattsPerAccelerator" not in changed
    assert "+ Membership mira@guildhall.example" in changed


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
    assert (ended.code, "--yes or --dry-run" in ended.err) == (2, True)
