"""The table of lessons."""

from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Timestamp


class SubjectKind(StrEnum):
    """What a lesson can be about."""

    MODEL_VERSION = "MODEL_VERSION"
    DATASET = "DATASET"
    DATASET_VERSION = "DATASET_VERSION"
    JOB = "JOB"


class LessonOutcome(StrEnum):
    """Whether what was tried did what it was for."""

    WORKED = "WORKED"
    FAILED = "FAILED"
    MIXED = "MIXED"


class Lesson(Base):
    """What somebody learned about a model version, a data set (or version of one), or a job.

    `model_id` and `dataset_id` say where it is shown: a lesson on a job that aimed at a model is shown on the model.
    `job_id` is the evidence: the job itself, or the one that made the version.
    """

    __tablename__ = "lessons"
    __table_args__ = (
        CheckConstraint("outcome IN ('WORKED', 'FAILED', 'MIXED')", name="outcome_known"),
        CheckConstraint(
            "(subject_kind = 'MODEL_VERSION' AND model_id IS NOT NULL) OR "
            "(subject_kind = 'DATASET' AND dataset_id = subject_id) OR "
            "(subject_kind = 'DATASET_VERSION' AND dataset_id IS NOT NULL) OR "
            "(subject_kind = 'JOB' AND job_id = subject_id)",
            name="subject_whole",
        ),
        CheckConstraint("author_kind IN ('USER', 'SERVICE_ACCOUNT')", name="author_kind_known"),
        CheckConstraint("summary <> ''", name="summary_given"),
        Index("ix_lessons_model_id", "model_id", "id"),
        Index("ix_lessons_dataset_id", "dataset_id", "id"),
        Index("ix_lessons_subject_id", "subject_id", "id"),
    )

    id: Mapped[Id]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    model_id: Mapped[UUID | None] = mapped_column(ForeignKey("models.id"))
    dataset_id: Mapped[UUID | None] = mapped_column(ForeignKey("datasets.id"))
    job_id: Mapped[UUID | None]
    summary: Mapped[str]
    body: Mapped[str]
    outcome: Mapped[str]
    dont_use_when: Mapped[str | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    author_kind: Mapped[str]
    author_id: Mapped[UUID]
    created_at: Mapped[Timestamp]
