"""Counting what is read before it leaves: reserved under a row's lock, so that parallel reads cannot slip past."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, text, update

from guildhall.db.transaction import ReadSession, WriteSession
from registry.datasets.tables import CLOSED, Dataset
from registry.volume.tables import BudgetAction, BudgetScope, ReadBudget, ReadCounter

DAY_SECONDS = 24 * 60 * 60
DEFAULT_ROWS_MAX = 100_000
DEFAULT_BYTES_MAX = 1024**3
DEFAULT_HABIT_FACTOR = 10
HABIT_WINDOWS = 30
"""How many past windows make a habit, those without reading left out."""
HABIT_WINDOWS_MIN = 5
"""Fewer are no habit yet."""
HABIT_ROWS_LEAST = 1_000
HABIT_BYTES_LEAST = 1024**2
"""What counts as a habit of less: ten times next to nothing is nothing unusual."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A budget as it counts, from the policy of the data set or by default."""

    scope: BudgetScope
    window_seconds: int
    rows_max: int | None
    bytes_max: int | None
    habit_factor: int | None
    action: BudgetAction
    delay_seconds: int = 0


DEFAULT = Budget(
    scope=BudgetScope.PERSON,
    window_seconds=DAY_SECONDS,
    rows_max=DEFAULT_ROWS_MAX,
    bytes_max=DEFAULT_BYTES_MAX,
    habit_factor=DEFAULT_HABIT_FACTOR,
    action=BudgetAction.WARN,
)
"""For the readers of CONFIDENTIAL and RESTRICTED data whose stewards have set nothing else for persons."""


class CounterKey(NamedTuple):
    """Which row counts."""

    dataset_id: UUID
    scope: str
    subject_id: UUID
    window_seconds: int
    window_start: datetime


@dataclass(frozen=True)
class Reservation:
    """What was counted for a read before it began."""

    keys: tuple[CounterKey, ...]
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Volume:
    """What a window holds with this read, sliding: of the window before as much as still overlaps. And what is usual.

    The limits are the smaller of the policy's and the habit's; None: none.
    """

    budget: Budget
    key: CounterKey
    rows: int
    bytes: int
    rows_usual: int | None
    bytes_usual: int | None

    @property
    def rows_max(self) -> int | None:
        """Above it the reading stands out."""
        return _limit(self.budget.rows_max, self.budget.habit_factor, self.rows_usual, HABIT_ROWS_LEAST)

    @property
    def bytes_max(self) -> int | None:
        """The same of bytes."""
        return _limit(self.budget.bytes_max, self.budget.habit_factor, self.bytes_usual, HABIT_BYTES_LEAST)

    @property
    def crossed(self) -> bool:
        """Whether it stands out."""
        return (self.rows_max is not None and self.rows > self.rows_max) or (
            self.bytes_max is not None and self.bytes > self.bytes_max
        )


async def load_budgets(session: ReadSession, dataset_id: UUID) -> list[Budget]:
    """The budgets that count for the data set, always in the same order, which is the order of locks."""
    statement = (
        select(Dataset.classification, ReadBudget)
        .outerjoin(ReadBudget, ReadBudget.dataset_id == Dataset.id)
        .where(Dataset.id == dataset_id)
    )
    rows: Sequence[Any] = (await session.execute(statement)).all()
    budgets = {
        BudgetScope(row.scope): Budget(
            scope=BudgetScope(row.scope),
            window_seconds=row.window_seconds,
            rows_max=row.rows_max,
            bytes_max=row.bytes_max,
            habit_factor=row.habit_factor,
            action=BudgetAction(row.action),
            delay_seconds=row.delay_seconds,
        )
        for _, row in rows
        if row is not None
    }
    if rows and rows[0][0] in CLOSED:
        budgets.setdefault(BudgetScope.PERSON, DEFAULT)
    return [budgets[scope] for scope in BudgetScope if scope in budgets]


async def count(
    session: WriteSession,
    *,
    dataset_id: UUID,
    budgets: Sequence[Budget],
    person_id: UUID,
    team_id: UUID | None,
    rows: int,
    size_bytes: int,
    at: datetime,
) -> tuple[Reservation, list[Volume]]:
    """Add the read to each counter that it belongs to. The counters are held until the commit."""
    subjects = {BudgetScope.PERSON: person_id, BudgetScope.TEAM: team_id, BudgetScope.DATASET: dataset_id}
    volumes = []
    for budget in budgets:
        subject_id = subjects[budget.scope]
        if subject_id is None:
            continue
        start = window_start(at, budget.window_seconds)
        key = CounterKey(dataset_id, budget.scope.value, subject_id, budget.window_seconds, start)
        volumes.append(await _add(session, key, budget, rows, size_bytes, at))
    return Reservation(tuple(volume.key for volume in volumes), rows, size_bytes), volumes


async def release(session: WriteSession, reservation: Reservation, *, rows: int, size_bytes: int) -> None:
    """Give back what did not leave after all; `rows` and `size_bytes` are what did."""
    spared = {"rows": max(reservation.rows - rows, 0), "bytes": max(reservation.bytes - size_bytes, 0)}
    if not any(spared.values()):
        return
    for key in reservation.keys:
        mine = [getattr(ReadCounter, name) == value for name, value in key._asdict().items()]
        values = {"rows": ReadCounter.rows - spared["rows"], "bytes": ReadCounter.bytes - spared["bytes"]}
        await session.execute(
            update(ReadCounter).where(*mine).values(values).execution_options(synchronize_session=False)
        )


def window_start(at: datetime, window_seconds: int) -> datetime:
    """Windows are counted from 1970, so that all processes have the same."""
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % window_seconds, UTC)


# One round trip. The insert takes the row's lock, so whoever comes second sees what the first has counted.
_ADD = text("""
    WITH counted AS (
        INSERT INTO read_counters (dataset_id, scope, subject_id, window_seconds, window_start, rows, bytes)
        VALUES (:dataset_id, :scope, :subject_id, :window_seconds, :window_start, :rows, :bytes)
        ON CONFLICT (dataset_id, scope, subject_id, window_seconds, window_start)
        DO UPDATE SET rows = read_counters.rows + excluded.rows, bytes = read_counters.bytes + excluded.bytes
        RETURNING rows, bytes
    ), past AS (
        SELECT window_start, rows, bytes FROM read_counters
        WHERE dataset_id = :dataset_id AND scope = :scope AND subject_id = :subject_id
            AND window_seconds = :window_seconds AND window_start < :window_start AND bytes > 0
        ORDER BY window_start DESC LIMIT :windows
    )
    SELECT counted.rows, counted.bytes, before.rows AS rows_before, before.bytes AS bytes_before, usual.*
    FROM counted
        LEFT JOIN past AS before ON before.window_start = :window_before
        CROSS JOIN (
            SELECT count(*) AS windows,
                percentile_disc(0.5) WITHIN GROUP (ORDER BY rows) AS rows_usual,
                percentile_disc(0.5) WITHIN GROUP (ORDER BY bytes) AS bytes_usual
            FROM past
        ) AS usual
""")


async def _add(
    session: WriteSession, key: CounterKey, budget: Budget, rows: int, size_bytes: int, at: datetime
) -> Volume:
    before = key.window_start - timedelta(seconds=key.window_seconds)
    values: dict[str, Any] = {
        **key._asdict(),
        "rows": rows,
        "bytes": size_bytes,
        "window_before": before,
        "windows": HABIT_WINDOWS,
    }
    found = (await session.execute(_ADD, values)).one()
    overlap = 1 - (at - key.window_start).total_seconds() / key.window_seconds
    habit = found.windows >= HABIT_WINDOWS_MIN
    return Volume(
        budget=budget,
        key=key,
        rows=found.rows + int((found.rows_before or 0) * overlap),
        bytes=found.bytes + int((found.bytes_before or 0) * overlap),
        rows_usual=found.rows_usual if habit else None,
        bytes_usual=found.bytes_usual if habit else None,
    )


def _limit(most: int | None, factor: int | None, usual: int | None, least: int) -> int | None:
    limits = [] if most is None else [most]
    if factor is not None and usual is not None:
        limits.append(factor * max(usual, least))
    return min(limits, default=None)
