"""`make bench-access`: decisions at up to a million lines beside pycasbin's, and changes until they are in force."""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence

from benchmarks.access.changing import Changed, measure, opened
from benchmarks.access.lines import NOW, Question, policy_of, questions_about
from benchmarks.report import Figure, at_most, plain, report
from guildhall.auth.casbin_policy import CasbinPolicy
from guildhall.auth.casbin_policy import Question as CasbinQuestion
from guildhall.auth.policy import PolicySnapshot

DECISION_MICROSECONDS = 5.0
FLAT = 3.0
"""What the largest policy may take of the smallest one's time: it lies in slower memory, and nothing else differs."""

FORCE_MILLISECONDS = 100.0
QUESTIONS = 2_000
ROUNDS = 9
CASBIN_QUESTIONS = 50
CASBIN_LINES_MAX = 10_000
"""Above, casbin needs minutes to take the lines in."""


def decisions(sizes: Sequence[int]) -> list[Figure]:
    """What one decision takes, in microseconds, of people who were asked about before and for the first time."""
    figures, taken = [], {}
    for lines in sizes:
        rules = policy_of(lines)
        snapshot, questions = PolicySnapshot(rules, at=NOW), questions_about(rules, QUESTIONS)
        first = _microseconds(questions, lambda each: snapshot.may(each.subject, each.permission, each.team_id))  # noqa: B023
        rounds = [
            _microseconds(questions, lambda each: snapshot.may(each.subject, each.permission, each.team_id))  # noqa: B023
            for _ in range(ROUNDS)
        ]
        taken[lines] = statistics.median(rounds)
        figures.append(at_most(f"a decision at {lines:,} lines, us, limit", taken[lines], DECISION_MICROSECONDS, 1.0))
        figures.append(plain(f"of whom for the first time at {lines:,} lines, us", first))
        if lines <= CASBIN_LINES_MAX:
            oracle = CasbinPolicy(rules, at=NOW)
            peer = _microseconds(questions[:CASBIN_QUESTIONS], lambda each: oracle.may(_of_casbin(each)))  # noqa: B023
            figures.append(plain(f"a decision at {lines:,} lines, us, pycasbin", taken[lines], peer))
    smallest, largest = min(sizes), max(sizes)
    return [
        *figures,
        at_most(f"a decision at {largest:,} lines, of one at {smallest:,}", taken[largest], taken[smallest], FLAT),
    ]


async def changes(lines: int, processes: int, count: int) -> list[Figure]:
    """How long a change takes to be in force, with the channel and without it."""
    figures = []
    async with opened(policy_of(lines)) as organisation:
        for deaf, how in ((False, "by notice"), (True, "without notices")):
            found = await measure(organisation, processes=processes, changes=count, deaf=deaf)
            figures += _changed(f"at {lines:,} lines, {processes} processes, {how}", found)
    return figures


def _changed(where: str, found: Changed) -> list[Figure]:
    slowest, middle = max(found.milliseconds), statistics.median(found.milliseconds)
    return [
        at_most(f"slowest change {where}, ms, limit", slowest, FORCE_MILLISECONDS, 1.0),
        plain(f"median change {where}, ms", middle),
        Figure(f"halves of a change {where}", found.halves, 0, None, 0, found.halves == 0),
    ]


def _microseconds(questions: Sequence[Question], ask: Callable[[Question], bool]) -> float:
    begun = time.thread_time()  # a decision waits for nothing, so what others do with the machine is no part of it
    for each in questions:
        ask(each)
    return (time.thread_time() - begun) / len(questions) * 1e6


def _of_casbin(question: Question) -> CasbinQuestion:
    return CasbinQuestion(question.subject, question.team_id, question.permission)


async def main(arguments: Sequence[str] | None = None) -> bool:
    """Measure and report; whether all that is wanted holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="*", default=[100, 1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--changes", type=int, default=50)
    given = parser.parse_args(arguments)
    figures = decisions(given.lines)
    figures += await changes(max(given.lines), given.processes, given.changes)
    notes = [
        f"{QUESTIONS:,} questions about people who hold roles, median of {ROUNDS} rounds",
        f"casbin is asked {CASBIN_QUESTIONS} of them, up to {CASBIN_LINES_MAX:,} lines",
        f"{given.changes} changes of two statements each, one after the other; from the return of the commit",
    ]
    return report("access", figures, notes=notes)


if __name__ == "__main__":
    asyncio.run(main())
