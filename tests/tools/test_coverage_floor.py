"""Floors and exceptions of coverage, on reports written by hand."""

import pytest

from tools.coverage_floor import Exemption, Rules, percentages, rules_from, shortfalls

FLOORS: dict[str, float] = {"": 90, "guildhall/auth/": 100, "marketplace/ledger": 100}


class TestFloorOf:
    @pytest.mark.parametrize(
        ("path", "want"),
        [
            ("registry/models/models.py", 90),
            ("guildhall/auth/tokens.py", 100),
            ("marketplace/ledger.py", 100),
            ("marketplace/ledger_reads.py", 100),
            ("marketplace/pricing.py", 90),
        ],
    )
    def test_the_longest_prefix_decides(self, path: str, want: float) -> None:
        assert Rules(FLOORS, {}).floor_of(path) == want


class TestShortfalls:
    def test_at_the_floor_is_enough(self) -> None:
        assert list(shortfalls(Rules(FLOORS, {}), {"registry/a.py": 90.0, "guildhall/auth/a.py": 100.0})) == []

    def test_hardly_below_is_below(self) -> None:
        assert list(shortfalls(Rules(FLOORS, {}), {"guildhall/auth/a.py": 99.96})) == [
            "guildhall/auth/a.py: 100.0 % covered, 100 % wanted"
        ]

    def test_an_exception_lowers_the_floor_for_its_module_alone(self) -> None:
        rules = Rules(FLOORS, {"registry/a.py": Exemption(80, "needs a real bucket")})
        assert list(shortfalls(rules, {"registry/a.py": 80.0, "registry/b.py": 80.0})) == [
            "registry/b.py: 80.0 % covered, 90 % wanted"
        ]

    def test_below_its_exception_is_below(self) -> None:
        rules = Rules(FLOORS, {"registry/a.py": Exemption(80, "needs a real bucket")})
        assert list(shortfalls(rules, {"registry/a.py": 79.0})) == ["registry/a.py: 79.0 % covered, 80 % wanted"]

    def test_an_exception_that_is_no_longer_needed_must_go(self) -> None:
        rules = Rules(FLOORS, {"registry/a.py": Exemption(80, "needs a real bucket")})
        assert list(shortfalls(rules, {"registry/a.py": 91.0})) == [
            "registry/a.py: reaches 90 % again; remove its exception from pyproject.toml"
        ]

    def test_an_exception_for_a_module_that_is_gone_must_go(self) -> None:
        rules = Rules(FLOORS, {"registry/a.py": Exemption(80, "needs a real bucket")})
        assert list(shortfalls(rules, {})) == ["registry/a.py: excepted in pyproject.toml, but not measured"]


class TestRulesFrom:
    def test_reads_floors_and_exceptions(self) -> None:
        exceptions = {"registry/a.py": {"reaches": 80, "why": "needs a real bucket"}}
        pyproject = {"tool": {"guildhall": {"coverage": {"floors": FLOORS, "exceptions": exceptions}}}}
        assert rules_from(pyproject) == Rules(FLOORS, {"registry/a.py": Exemption(80, "needs a real bucket")})

    @pytest.mark.parametrize(
        "coverage",
        [
            {"floors": FLOORS},
            {"floors": {"guildhall/auth/": 100}, "exceptions": {}},
            {"floors": FLOORS, "exceptions": {"registry/a.py": {"reaches": 80, "why": " "}}},
        ],
    )
    def test_half_a_rule_is_refused(self, coverage: dict[str, object]) -> None:
        with pytest.raises(AssertionError):
            rules_from({"tool": {"guildhall": {"coverage": coverage}}})


class TestPercentages:
    def test_takes_lines_and_branches_together_unrounded(self) -> None:
        report = {"files": {"registry/a.py": {"summary": {"percent_covered": 66.66666, "percent_covered_display": 67}}}}
        assert percentages(report) == {"registry/a.py": 66.66666}
