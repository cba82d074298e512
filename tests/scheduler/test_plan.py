"""The plan as tables: who holds what, who waits, and what is wanted of each."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.clusters.executor import Reason
from scheduler.plan import PLACED_JOBS_MAX, Decision, Occupant, PoolState, Snapshot, WaitingJob, plan

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SMALL, BIG = UUID(int=1), UUID(int=2)
NAMES = {SMALL: "small", BIG: "big"}


def ident(name: str) -> UUID:
    return UUID(bytes=name.encode().rjust(16, b"\0"))


def runs(name: str, slots: int, minutes: float) -> Occupant:
    return Occupant(job_id=ident(name), job_name=name, slots=slots, ends_at=NOW + timedelta(minutes=minutes))


def waits(
    name: str, slots: int, minutes: float, *pools: UUID, refused: Reason | None = None, start_by: float = 1440
) -> WaitingJob:
    return WaitingJob(
        job_id=ident(name),
        job_name=name,
        slots=slots,
        seconds=int(minutes * 60),
        start_by=NOW + timedelta(minutes=start_by),
        pool_ids=pools or (SMALL,),
        refused=refused,
    )


def pool(pool_id: UUID, slots: int, *occupants: Occupant) -> PoolState:
    return PoolState(id=pool_id, name=NAMES[pool_id], slots=slots, occupants=occupants)


@dataclass
class Case:
    pools: tuple[PoolState, ...]
    waiting: tuple[WaitingJob, ...]
    want: dict[str, tuple[str, UUID | None, float | None]] = field(default_factory=dict)
    """By job: reason code, pool, minutes until it starts."""


CASES = {
    "an empty pool takes what fits": Case(
        (pool(SMALL, 2),),
        (waits("a", 2, 10),),
        {"a": ("ADMITTED", SMALL, 0)},
    ),
    "two fit together": Case(
        (pool(SMALL, 2),),
        (waits("a", 1, 10), waits("b", 1, 10)),
        {"a": ("ADMITTED", SMALL, 0), "b": ("ADMITTED", SMALL, 0)},
    ),
    "two fit alone but not together": Case(
        (pool(SMALL, 2),),
        (waits("a", 2, 10), waits("b", 1, 10)),
        {"a": ("ADMITTED", SMALL, 0), "b": ("WAITING_FOR_CAPACITY", SMALL, 10)},
    ),
    "a waiting one knows when the running one ends at the latest": Case(
        (pool(SMALL, 2, runs("r", 2, 7)),),
        (waits("a", 1, 10),),
        {"a": ("WAITING_FOR_CAPACITY", SMALL, 7)},
    ),
    "a small one goes past a big one where it ends in time": Case(
        (pool(SMALL, 2, runs("r", 1, 10)),),
        (waits("big", 2, 10), waits("quick", 1, 10)),
        {"big": ("WAITING_FOR_CAPACITY", SMALL, 10), "quick": ("ADMITTED", SMALL, 0)},
    ),
    "a small one that would delay the big one waits behind it": Case(
        (pool(SMALL, 2, runs("r", 1, 10)),),
        (waits("big", 2, 10), waits("slow", 1, 11)),
        {"big": ("WAITING_FOR_CAPACITY", SMALL, 10), "slow": ("WAITING_FOR_TURN", SMALL, 20)},
    ),
    "the pool that is free first, although dearer": Case(
        (pool(SMALL, 1, runs("r", 1, 10)), pool(BIG, 1)),
        (waits("a", 1, 10, SMALL, BIG),),
        {"a": ("ADMITTED", BIG, 0)},
    ),
    "of two free pools the preferred one": Case(
        (pool(SMALL, 1), pool(BIG, 1)),
        (waits("a", 1, 10, BIG, SMALL),),
        {"a": ("ADMITTED", BIG, 0)},
    ),
    "only pools that the quote allows": Case(
        (pool(SMALL, 1, runs("r", 1, 10)), pool(BIG, 1)),
        (waits("a", 1, 10, SMALL),),
        {"a": ("WAITING_FOR_CAPACITY", SMALL, 10)},
    ),
    "a refused one takes nothing and keeps nobody waiting": Case(
        (pool(SMALL, 1),),
        (waits("a", 1, 10, refused=Reason("ACCESS_ENDED", "the grant has ended")), waits("b", 1, 10)),
        {"a": ("ACCESS_ENDED", None, None), "b": ("ADMITTED", SMALL, 0)},
    ),
    "a pool that has shrunk below the job": Case(
        (pool(SMALL, 1),),
        (waits("a", 2, 10),),
        {"a": ("POOL_TOO_SMALL", None, None)},
    ),
    "a pool that has shrunk below what runs": Case(
        (pool(SMALL, 1, runs("r", 2, 5)),),
        (waits("a", 1, 10),),
        {"a": ("WAITING_FOR_CAPACITY", SMALL, 5)},
    ),
    "an overdue one keeps its accelerators": Case(
        (pool(SMALL, 1, runs("r", 1, -3)),),
        (waits("a", 1, 10),),
        {"a": ("WAITING_FOR_CAPACITY", SMALL, 1 / 60)},
    ),
    "waiting ones queue behind each other": Case(
        (pool(SMALL, 1, runs("r", 1, 5)),),
        (waits("a", 1, 10), waits("b", 1, 10), waits("c", 1, 10)),
        {
            "a": ("WAITING_FOR_CAPACITY", SMALL, 5),
            "b": ("WAITING_FOR_CAPACITY", SMALL, 15),
            "c": ("WAITING_FOR_CAPACITY", SMALL, 25),
        },
    ),
    "a gap between two reservations is used": Case(
        (pool(SMALL, 2, runs("r", 1, 10), runs("s", 1, 30)),),
        (waits("big", 2, 10), waits("fits", 1, 20)),
        {"big": ("WAITING_FOR_CAPACITY", SMALL, 30), "fits": ("WAITING_FOR_CAPACITY", SMALL, 10)},
    ),
}


def shown(decision: Decision) -> tuple[str, UUID | None, float | None]:
    starts = None if decision.starts_at is None else (decision.starts_at - NOW).total_seconds() / 60
    return decision.reason.code, decision.pool_id, starts


class TestPlan:
    @pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
    def test_table(self, case: Case) -> None:
        decisions = plan(Snapshot(at=NOW, pools=case.pools, waiting=case.waiting))
        names = [job.job_name for job in case.waiting]
        assert {name: shown(decision) for name, decision in zip(names, decisions, strict=True)} == case.want
        assert all(decision.admitted == (decision.starts_at == NOW) for decision in decisions)

    def test_sentence_of_missing_accelerators(self) -> None:
        snapshot = Snapshot(at=NOW, pools=(pool(SMALL, 2, runs("train-1", 1, 10)),), waiting=(waits("a", 2, 10),))
        assert plan(snapshot)[0].reason == Reason(
            "WAITING_FOR_CAPACITY",
            "waits for 1 of 2 accelerators of pool small until about 12:10 UTC, when job train-1 ends at the latest",
        )

    def test_sentence_of_accelerators_kept_for_another(self) -> None:
        waiting = (waits("big-run", 2, 10), waits("slow", 1, 11, start_by=15))
        snapshot = Snapshot(at=NOW, pools=(pool(SMALL, 2, runs("r", 1, 10)),), waiting=waiting)
        assert plan(snapshot)[1].reason == Reason(
            "WAITING_FOR_TURN",
            "1 accelerator of pool small is free but kept for job big-run, which goes first; "
            "until about 12:20 UTC; that is after its latest start, so that it may expire",
        )

    def test_a_moment_of_another_day_says_which(self) -> None:
        snapshot = Snapshot(at=NOW, pools=(pool(SMALL, 1, runs("r", 1, 1440)),), waiting=(waits("a", 1, 10),))
        assert "until about 2026-03-03 12:00 UTC, when" in plan(snapshot)[0].reason.message

    def test_the_queue_beyond_the_maximum_waits_without_a_prediction(self) -> None:
        waiting = tuple(waits(f"j{number}", 1, 1) for number in range(PLACED_JOBS_MAX + 1))
        decisions = plan(Snapshot(at=NOW, pools=(pool(SMALL, 1),), waiting=waiting))
        assert decisions[-1].reason == Reason("WAITING_IN_QUEUE", f"waits behind {PLACED_JOBS_MAX} other jobs")
        assert decisions[-1].starts_at is None

    @given(
        slots=st.integers(1, 6),
        running=st.lists(st.tuples(st.integers(1, 3), st.integers(-5, 60)), max_size=4),
        waiting=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 60)), max_size=12),
    )
    def test_what_is_admitted_and_reserved_never_exceeds_the_pool(
        self, slots: int, running: list[tuple[int, int]], waiting: list[tuple[int, int]]
    ) -> None:
        occupants = tuple(runs(f"r{index}", count, minutes) for index, (count, minutes) in enumerate(running))
        jobs = tuple(waits(f"w{index}", count, minutes) for index, (count, minutes) in enumerate(waiting))
        used_now = sum(occupant.slots for occupant in occupants)
        decisions = plan(Snapshot(at=NOW, pools=(pool(SMALL, slots, *occupants),), waiting=jobs))
        spans = [(NOW, max(o.ends_at, NOW + timedelta(seconds=1)), o.slots) for o in occupants]
        for job, decision in zip(jobs, decisions, strict=True):
            if decision.starts_at is not None:
                end = decision.starts_at + timedelta(seconds=job.seconds)
                spans.append((decision.starts_at, end, job.slots))
        for start, _, _ in spans[len(occupants) :]:
            used = sum(count for begin, end, count in spans if begin <= start < end)
            assert used <= max(slots, used_now if start == NOW else slots)
        admitted = sum(job.slots for job, decision in zip(jobs, decisions, strict=True) if decision.admitted)
        assert admitted <= max(0, slots - used_now)

    @given(
        waiting=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 60)), min_size=2, max_size=10),
        minutes=st.integers(1, 60),
    )
    def test_later_jobs_never_delay_the_first(self, waiting: list[tuple[int, int]], minutes: int) -> None:
        jobs = tuple(waits(f"w{index}", count, length) for index, (count, length) in enumerate(waiting))
        state = pool(SMALL, 4, runs("r", 2, minutes))
        alone = plan(Snapshot(at=NOW, pools=(state,), waiting=jobs[:1]))[0]
        together = plan(Snapshot(at=NOW, pools=(state,), waiting=jobs))[0]
        assert alone == together
