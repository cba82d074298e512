"""The tables of budgets for reading, of what was read, and of alerts."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Timestamp


class BudgetScope(StrEnum):
    """Whose reading of a data set is counted together: a person's (or a team's programs'), a team's, everybody's."""

    PERSON = "PERSON"
    TEAM = "TEAM"
    DATASET = "DATASET"


class BudgetAction(StrEnum):
    """What happens to a read that crosses the budget: it goes on, it waits a while once, or it is refused.

    Stewards and auditors are alerted in each case.
    """

    WARN = "WARN"
    DELAY = "DELAY"
    BLOCK = "BLOCK"


_SCOPES = "scope IN ('PERSON', 'TEAM', 'DATASET')"
_ACTIONS = "action IN ('WARN', 'DELAY', 'BLOCK')"


class ReadBudget(Base):
    """How much of a data set may be read within a window before it stands out.

    `habit_factor` compares with the reader's own past as well: so many times the median of the windows in which they
    read at all. NULL in a limit: it does not count.
    """

    __tablename__ = "read_budgets"
    __table_args__ = (
        CheckConstraint(_SCOPES, name="scope"),
        CheckConstraint(_ACTIONS, name="action"),
        CheckConstraint("window_seconds BETWEEN 60 AND 2678400", name="window_a_minute_to_a_month"),
        CheckConstraint("rows_max > 0", name="rows_positive"),
        CheckConstraint("bytes_max > 0", name="bytes_positive"),
        CheckConstraint("habit_factor BETWEEN 2 AND 1000", name="factor_in_bounds"),
        CheckConstraint("delay_seconds BETWEEN 0 AND 86400", name="delay_at_most_a_day"),
        CheckConstraint("(action = 'DELAY') = (delay_seconds > 0)", name="delay_where_delayed"),
        CheckConstraint("num_nonnulls(rows_max, bytes_max, habit_factor) > 0", name="some_limit"),
    )

    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    window_seconds: Mapped[int]
    rows_max: Mapped[int | None] = mapped_column(BigInteger)
    bytes_max: Mapped[int | None] = mapped_column(BigInteger)
    habit_factor: Mapped[int | None]
    action: Mapped[str]
    delay_seconds: Mapped[int]
    set_by: Mapped[UUID]
    set_at: Mapped[Timestamp]


class ReadCounter(Base):
    """What one reader has read of a data set within one window. Counted before bytes leave, corrected after."""

    __tablename__ = "read_counters"
    __table_args__ = (
        CheckConstraint(_SCOPES, name="scope"),
        CheckConstraint("rows >= 0 AND bytes >= 0", name="counts_not_negative"),
    )

    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    subject_id: Mapped[UUID] = mapped_column(primary_key=True)
    window_seconds: Mapped[int] = mapped_column(primary_key=True)
    window_start: Mapped[Timestamp] = mapped_column(primary_key=True)
    rows: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)


class AccessAlert(Base):
    """Somebody crossed a budget; `message` says what was unusual. One for each reader, budget, window and action.

    `rows` and `bytes` are what the crossing read would have made of the window, at the most. It is open until somebody
    else has acknowledged it, and again when it grows.
    """

    __tablename__ = "access_alerts"
    __table_args__ = (
        UniqueConstraint(
            "dataset_id", "scope", "subject_id", "window_seconds", "window_start", "action", name="one_for_each_window"
        ),
        CheckConstraint(_SCOPES, name="scope"),
        CheckConstraint(_ACTIONS, name="action"),
        CheckConstraint("(action = 'DELAY') = (delayed_until IS NOT NULL)", name="delayed_until_a_moment"),
        CheckConstraint(
            "num_nonnulls(acknowledged_at, acknowledged_by, acknowledgement) IN (0, 3)", name="acknowledgement_whole"
        ),
        CheckConstraint("acknowledged_by <> user_id", name="acknowledged_by_another"),
        Index("ix_access_alerts_raised_at", "raised_at"),
    )

    id: Mapped[Id]
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"))
    scope: Mapped[str]
    subject_id: Mapped[UUID]
    window_seconds: Mapped[int]
    window_start: Mapped[Timestamp]
    action: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    team_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"))
    rows: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    message: Mapped[str]
    raised_at: Mapped[Timestamp]
    delayed_until: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    acknowledgement: Mapped[str | None]
