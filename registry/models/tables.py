"""Tables of models, their versions, reported metrics and aliases."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Double, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Json, Timestamp
from guildhall.slugs import SLUG_PATTERN


class RiskTier(StrEnum):
    """How much harm a wrong answer of the model can do; decides what its card must say before publication."""

    LOW = "LOW"
    LIMITED = "LIMITED"
    HIGH = "HIGH"


class ModelVersionStatus(StrEnum):
    """DRAFT waits for its files, READY may be published, BLOCKED was refused publication, ABANDONED led nowhere."""

    DRAFT = "DRAFT"
    READY = "READY"
    BLOCKED = "BLOCKED"
    PUBLISHED = "PUBLISHED"
    ABANDONED = "ABANDONED"


class Model(Base):
    """What a team offers under one name; the bytes are in its versions.

    `search` is written by triggers alone (migration 0005): name, task, tags, description, cards and lessons.
    `versions_made` counts the numbers given out, so that a number is never given twice.
    """

    __tablename__ = "models"
    __table_args__ = (
        UniqueConstraint("team_id", "name"),
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_slug"),
        CheckConstraint("visibility IN ('TEAM', 'ORGANISATION')", name="visibility_known"),
        CheckConstraint("risk_tier IN ('LOW', 'LIMITED', 'HIGH')", name="risk_tier_known"),
        CheckConstraint("versions_made >= 0", name="versions_made_not_negative"),
        Index("ix_models_search", "search", postgresql_using="gin"),
        Index("ix_models_created_at", "created_at", "id"),
        Index("ix_models_name", "name", "id"),
    )

    id: Mapped[Id]
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    name: Mapped[str]
    task: Mapped[str]
    description: Mapped[str]
    visibility: Mapped[str]
    risk_tier: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    versions_made: Mapped[int]
    created_by: Mapped[UUID]
    created_at: Mapped[Timestamp]
    search: Mapped[str] = mapped_column(TSVECTOR, server_default=text("''"), deferred=True)


class ModelVersion(Base):
    """One set of files with what is known about it; `status_code` and `status_message` say why it has its status.

    The effective columns are inherited over lineage (`registry.lineage.restrictions`): NULL means that nothing
    restricts, an empty array that nothing is left.
    """

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        UniqueConstraint("produced_by_attempt_id"),
        CheckConstraint("number > 0", name="number_positive"),
        CheckConstraint("status IN ('DRAFT', 'READY', 'BLOCKED', 'PUBLISHED', 'ABANDONED')", name="status_known"),
        CheckConstraint("(status_code IS NULL) = (status_message IS NULL)", name="reason_whole"),
        CheckConstraint("status NOT IN ('BLOCKED', 'ABANDONED') OR status_code IS NOT NULL", name="reason_given"),
        CheckConstraint("(status = 'PUBLISHED') = (published_at IS NOT NULL)", name="published_at_when_published"),
        CheckConstraint(
            "effective_classification IN ('PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED')",
            name="classification_known",
        ),
        CheckConstraint("produced_by_attempt_id IS NULL OR produced_by_job_id IS NOT NULL", name="attempt_of_a_job"),
        Index("ix_model_versions_produced_by_job_id", "produced_by_job_id"),
        Index("ix_model_versions_model_created", "model_id", "created_at", "id"),
    )

    id: Mapped[Id]
    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    status: Mapped[str]
    status_code: Mapped[str | None]
    status_message: Mapped[str | None]
    parameters: Mapped[Json]
    effective_classification: Mapped[str]
    effective_permitted_purposes: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    effective_regions: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    effective_retention_ends_on: Mapped[date | None]
    produced_by_job_id: Mapped[UUID | None]
    produced_by_attempt_id: Mapped[UUID | None]
    created_by: Mapped[UUID]
    created_at: Mapped[Timestamp]
    ready_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]


class ModelMetric(Base):
    """A number that a run or a person reported about a version; `split` names the rows it was measured on."""

    __tablename__ = "model_metrics"
    __table_args__ = (
        UniqueConstraint("model_version_id", "name", "split", "step", postgresql_nulls_not_distinct=True),
        CheckConstraint("step IS NULL OR step >= 0", name="step_not_negative"),
    )

    id: Mapped[Id]
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id"))
    name: Mapped[str]
    value: Mapped[float] = mapped_column(Double)
    split: Mapped[str | None]
    step: Mapped[int | None]


class Alias(Base):
    """A name that moves between the versions of one model, such as "champion"; moving it locks this one row."""

    __tablename__ = "aliases"
    __table_args__ = (
        UniqueConstraint("model_id", "name"),
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_slug"),
        Index("ix_aliases_model_version_id", "model_version_id"),
    )

    id: Mapped[Id]
    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id"))
    name: Mapped[str]
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id"))
    protected: Mapped[bool]
    created_at: Mapped[Timestamp]


class AliasChange(Base):
    """One move of an alias: from which version (NULL at first) to which, by whom and why. Append only."""

    __tablename__ = "alias_changes"
    __table_args__ = (Index("ix_alias_changes_alias_id", "alias_id", "id"),)

    id: Mapped[Id]
    alias_id: Mapped[UUID] = mapped_column(ForeignKey("aliases.id"))
    from_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_versions.id"))
    to_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id"))
    protected: Mapped[bool]
    reason: Mapped[str]
    changed_by: Mapped[UUID]
    changed_at: Mapped[Timestamp]
