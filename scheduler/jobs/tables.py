"""The tables of jobs, of their attempts, and of what the platform and the runner said about those."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, Double, ForeignKey, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Json, MicroCredits, Timestamp
from guildhall.db.leases import Leasable

_JOB_STATES = (
    "'QUEUED', 'ADMITTED', 'STARTING', 'RUNNING', 'STOPPING', "
    "'SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'EXPIRED'"
)
_ENDED = "'SUCCEEDED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'EXPIRED'"


class Job(Base):
    """A training run that a team pays for. `spec` is the accepted quote's job, as `scheduler.jobs.spec` writes it.

    `state_code` and `state_message` say why it is in its state, `waiting_until` when that should change. `held` is the
    hold; once settled, `captured` and `released` are what became of it. `launch_outbox_id` is the one row in the
    outbox, written with the hold, that leads to its launch.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("quote_id"),
        UniqueConstraint("hold_id"),
        CheckConstraint(f"state IN ({_JOB_STATES})", name="state_known"),
        CheckConstraint("created_by_kind IN ('USER', 'SERVICE_ACCOUNT')", name="created_by_kind_known"),
        CheckConstraint("tier IN ('GUARANTEED', 'STANDARD', 'PREEMPTIBLE')", name="tier_known"),
        CheckConstraint("strategic_class IN ('A', 'B', 'C', 'D')", name="strategic_class_known"),
        CheckConstraint("slots > 0 AND walltime_seconds > 0", name="size_positive"),
        CheckConstraint("held >= 0 AND captured >= 0 AND released >= 0", name="charge_not_negative"),
        CheckConstraint("captured + released <= held", name="charge_within_hold"),
        CheckConstraint(f"(state IN ({_ENDED})) = (ended_at IS NOT NULL)", name="ended_has_moment"),
        CheckConstraint(f"(state IN ({_ENDED})) = (settled_at IS NOT NULL)", name="ended_is_settled"),
        CheckConstraint("(stop_code IS NULL) = (stop_message IS NULL)", name="stop_whole"),
        CheckConstraint("(stop_code IS NULL) = (stop_at IS NULL)", name="stop_has_moment"),
        CheckConstraint("state = 'QUEUED' OR waiting_until IS NULL", name="only_queued_waits"),
        Index("ix_jobs_team_id", "team_id", "id"),
        Index("ix_jobs_state", "state", "strategic_class", "created_at", postgresql_where=text("settled_at IS NULL")),
    )

    id: Mapped[Id]
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    programme_id: Mapped[UUID] = mapped_column(ForeignKey("programmes.id"))
    quote_id: Mapped[UUID] = mapped_column(ForeignKey("quotes.id"))
    hold_id: Mapped[UUID] = mapped_column(ForeignKey("holds.id"))
    launch_outbox_id: Mapped[UUID]
    name: Mapped[str]
    spec: Mapped[Json]
    spec_hash: Mapped[str]
    state: Mapped[str]
    state_code: Mapped[str]
    state_message: Mapped[str]
    waiting_until: Mapped[datetime | None]
    predicted_start: Mapped[datetime | None]
    pool_id: Mapped[UUID | None] = mapped_column(ForeignKey("pools.id"))
    tier: Mapped[str]
    strategic_class: Mapped[str]
    slots: Mapped[int]
    walltime_seconds: Mapped[int]
    start_by: Mapped[Timestamp]
    sensitive: Mapped[bool]
    held: Mapped[MicroCredits]
    captured: Mapped[MicroCredits] = mapped_column(default=0)
    released: Mapped[MicroCredits] = mapped_column(default=0)
    created_by_kind: Mapped[str]
    created_by: Mapped[UUID]
    created_at: Mapped[Timestamp]
    admitted_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    stop_code: Mapped[str | None]
    stop_message: Mapped[str | None]
    stop_at: Mapped[datetime | None]


class JobInput(Base):
    """One data set version or model version that the job may read, for one purpose."""

    __tablename__ = "job_inputs"
    __table_args__ = (
        CheckConstraint("kind IN ('DATASET_VERSION', 'MODEL_VERSION')", name="kind_known"),
        CheckConstraint('"index" >= 0', name="index_not_negative"),
        Index("ix_job_inputs_source_id", "source_id"),
    )

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    source_id: Mapped[UUID]
    mount_path: Mapped[str]
    purpose: Mapped[str]


class JobEvent(Base):
    """One transition of a job, or another thing worth telling about it. Append only."""

    __tablename__ = "job_events"
    __table_args__ = (
        CheckConstraint(f"from_state IN ({_JOB_STATES})", name="from_state_known"),
        CheckConstraint(f"state IN ({_JOB_STATES})", name="state_known"),
        CheckConstraint("code <> '' AND message <> ''", name="reason_given"),
        Index("ix_job_events_job_id", "job_id", "id"),
    )

    id: Mapped[Id]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"))
    attempt_id: Mapped[UUID | None] = mapped_column(ForeignKey("attempts.id"))
    occurred_at: Mapped[Timestamp]
    from_state: Mapped[str | None]
    state: Mapped[str]
    code: Mapped[str]
    message: Mapped[str]


class Attempt(Leasable, Base):
    """One launch of a job on a pool. `exit_code` and its reason are the platform's; `result` is what the runner said.

    `machines` names that of each of its nodes: as planned, and then as the cluster says; none where a pool has no
    machines. `stopped_at` is when the platform was last asked to end it, `removed_at` when it has forgotten it. The
    lease is held by the worker that stops or removes it.
    """

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        UniqueConstraint("name"),
        CheckConstraint("number >= 1", name="number_from_one"),
        CheckConstraint("state IN ('ADMITTED', 'STARTING', 'RUNNING', 'ENDED', 'LOST', 'REFUSED')", name="state_known"),
        CheckConstraint("(state IN ('ENDED', 'LOST', 'REFUSED')) = (ended_at IS NOT NULL)", name="ended_has_moment"),
        CheckConstraint("removed_at IS NULL OR ended_at IS NOT NULL", name="removed_after_end"),
        CheckConstraint("(exit_reason_code IS NULL) = (exit_reason_message IS NULL)", name="exit_reason_whole"),
        CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease_whole"),
        CheckConstraint("(lease_token IS NULL) = (lease_owner IS NULL)", name="lease_owned"),
        Index("ix_attempts_live", "pool_id", postgresql_where=text("removed_at IS NULL")),
    )

    id: Mapped[Id]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    name: Mapped[str]
    pool_id: Mapped[UUID] = mapped_column(ForeignKey("pools.id"))
    slot_indexes: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    machines: Mapped[list[str]] = mapped_column(ARRAY(String))
    spec_hash: Mapped[str]
    state: Mapped[str]
    created_at: Mapped[Timestamp]
    launched_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
    exit_code: Mapped[int | None]
    exit_reason_code: Mapped[str | None]
    exit_reason_message: Mapped[str | None]
    environment: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    parameters: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    log_bytes: Mapped[int] = mapped_column(default=0)


class RunInterval(Base):
    """One container's life, as the platform reports it: what is billed. Its end is set once."""

    __tablename__ = "run_intervals"
    __table_args__ = (
        UniqueConstraint("source_uid"),
        CheckConstraint("ended_at >= started_at", name="not_negative"),
        Index("ix_run_intervals_attempt_id", "attempt_id"),
    )

    id: Mapped[Id]
    attempt_id: Mapped[UUID] = mapped_column(ForeignKey("attempts.id"))
    source_uid: Mapped[str]
    started_at: Mapped[Timestamp]
    ended_at: Mapped[datetime | None]


class AttemptReport(Base):
    """One batch from the runner, under its number, so that a batch sent twice counts once.

    `lines` is a list of `{at, stream, text}`. Number 0 holds what the platform kept of the runner's own words.
    """

    __tablename__ = "attempt_reports"
    __table_args__ = (CheckConstraint("sequence >= 0", name="sequence_not_negative"),)

    attempt_id: Mapped[UUID] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    received_at: Mapped[Timestamp]
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)


class InputOpening(Base):
    """One input of which our API gave an attempt the files: what lineage calls observed.

    Each right counts once, with its first opening: each access grant, and NULL for the role.
    """

    __tablename__ = "input_openings"
    __table_args__ = (UniqueConstraint("attempt_id", "index", "access_grant_id", postgresql_nulls_not_distinct=True),)

    id: Mapped[Id]
    attempt_id: Mapped[UUID] = mapped_column(ForeignKey("attempts.id"))
    index: Mapped[int]
    opened_at: Mapped[Timestamp]
    access_grant_id: Mapped[UUID | None]


class JobMetric(Base):
    """A number that the script reported while it ran; `sequence` is that of the report that it came with."""

    __tablename__ = "job_metrics"
    __table_args__ = (
        CheckConstraint("sequence >= 0", name="sequence_not_negative"),
        Index("ix_job_metrics_attempt_id", "attempt_id", "id"),
        Index("ix_job_metrics_sequence", "attempt_id", "sequence", "id"),
    )

    id: Mapped[Id]
    attempt_id: Mapped[UUID] = mapped_column(ForeignKey("attempts.id"))
    sequence: Mapped[int]
    name: Mapped[str]
    value: Mapped[float] = mapped_column(Double)
    split: Mapped[str | None]
    step: Mapped[int | None]
    reported_at: Mapped[Timestamp]


class JobOutput(Base):
    """The model version that an attempt registered; one for each attempt."""

    __tablename__ = "job_outputs"
    __table_args__ = (UniqueConstraint("model_version_id"),)

    attempt_id: Mapped[UUID] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id"))
    created_at: Mapped[Timestamp]
    completed_at: Mapped[datetime | None]
