"""Each module reaches its floor of coverage, lines and branches together (STYLE 42).

Floors and exceptions stand in `pyproject.toml` under `[tool.guildhall.coverage]`. The longest prefix of a module's path
decides its floor. Judged is each module by itself, so that a well-tested neighbour hides nothing. An exception names
one module, what it reaches, and why; one that is no longer needed is a finding too, so that the list only shrinks.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Exemption:
    """One module that may stay below its floor, down to `reaches` percent; `varies` where it reaches it at times."""

    reaches: float
    why: str
    varies: bool = False


@dataclass(frozen=True)
class Rules:
    """Floors in percent by path prefix, and the modules that are excepted from them."""

    floors: Mapping[str, float]
    exceptions: Mapping[str, Exemption]

    def floor_of(self, path: str) -> float:
        """Return the floor that the longest matching prefix sets."""
        return self.floors[max((prefix for prefix in self.floors if path.startswith(prefix)), key=len)]


def main() -> None:
    """Read the report that `coverage json` wrote, print what falls short, and exit 1 if anything does."""
    rules = rules_from(tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8")))
    measured = percentages(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    findings = list(shortfalls(rules, measured))
    for finding in findings:
        print(finding)
    if findings:
        sys.exit(1)
    print(f"{len(measured)} modules reach their floors of coverage, {len(rules.exceptions)} of them by exception")


def rules_from(pyproject: Mapping[str, object]) -> Rules:
    """Take the rules out of a parsed pyproject.toml; a rule without a reason is a programmer's mistake."""
    match pyproject:
        case {"tool": {"guildhall": {"coverage": {"floors": dict(floors), "exceptions": dict(exceptions)}}}}:
            assert "" in floors, "a floor for everything else is missing"
            exempt = {path: Exemption(**rule) for path, rule in exceptions.items()}
            assert all(rule.why.strip() for rule in exempt.values()), "each exception has its reason"
            return Rules(floors, exempt)
        case _:
            raise AssertionError("pyproject.toml has no [tool.guildhall.coverage] with floors and exceptions")


def percentages(report: Mapping[str, dict[str, dict[str, dict[str, float]]]]) -> dict[str, float]:
    """Map each measured module to its percentage, unrounded: 99.6 is not 100."""
    return {path: file["summary"]["percent_covered"] for path, file in sorted(report["files"].items())}


def shortfalls(rules: Rules, measured: Mapping[str, float]) -> Iterator[str]:
    """Say which modules lie below what is wanted, and which exceptions are no longer true."""
    for path, percent in measured.items():
        floor = rules.floor_of(path)
        exemption = rules.exceptions.get(path)
        if exemption and not exemption.varies and percent >= floor:
            yield f"{path}: reaches {floor:g} % again; remove its exception from pyproject.toml"
        elif percent < (wanted := exemption.reaches if exemption else floor):
            yield f"{path}: {percent:.1f} % covered, {wanted:g} % wanted"
    for path in rules.exceptions:
        if path not in measured:
            yield f"{path}: excepted in pyproject.toml, but not measured"


if __name__ == "__main__":
    main()
