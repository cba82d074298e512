"""wallet: what a team has, and who may see it."""

from collections.abc import Callable

from tests.client.command.conftest import Command, Ended


class TestWallet:
    def test_for_people(self, here: Callable[..., Ended]) -> None:
        shown = here("wallet", "maintenance")
        assert (shown.code, shown.err) == (0, "")
        lines = shown.out.splitlines()
        assert lines[0].split() == ["team", "maintenance"]
        assert lines[1].split()[0] == "available"
        columns = ["PROGRAMME", "UNTIL", "ALLOCATED", "CHARGED", "HELD", "REMAINING"]
        assert columns in [line.split() for line in lines]
        assert any(line.startswith("zero-defects") for line in lines)
        assert "Last transfers" in lines

    def test_for_programs(self, here: Callable[..., Ended]) -> None:
        told = here("wallet", "maintenance", "--json").json
        assert told["name"] == "maintenance"
        assert [each["programme"]["name"] for each in told["wallet"]["allocations"]["nodes"]] == ["zero-defects"]

    def test_one_without_credits(self, here: Callable[..., Ended], person: Callable[[str], Command]) -> None:
        shown = person("alma").ok("wallet", "platform")
        assert shown.err == "No credits were allocated yet.\n"
        assert "Last transfers" not in shown.out

    def test_there_is_no_such_team(self, here: Callable[..., Ended]) -> None:
        assert here("wallet", "nobody") == Ended(3, "", "guildhall: There is no team nobody that you may see.\n")

    def test_another_team_s_is_not_shown(self, here: Callable[..., Ended]) -> None:
        ended = here("wallet", "quality")
        assert (ended.code, ended.out) == (4, "")
        needed = "This needs the permission marketplace:wallet:read; an administrator can grant it (at team.wallet)."
        roles = "`guildhall whoami` shows your roles; the team's maintainers and administrators give others."
        assert ended.err == f"guildhall: {needed} {roles}\n"
