"""Lessons, as they are read; recording one lives with the scheduler, because a job can be its subject."""

from datetime import datetime

from sqlalchemy import case

from guildhall.graphql.declare import column, connection, embedded, extend, node, object_type, one, reference
from registry.datasets.tables import Dataset
from registry.lessons.recording import visible_lessons
from registry.lessons.tables import Lesson, LessonOutcome, SubjectKind
from registry.models.lookup import DISCOVER

SUBJECT_TYPES = {
    SubjectKind.MODEL_VERSION.value: "ModelVersion",
    SubjectKind.DATASET.value: "Dataset",
    SubjectKind.DATASET_VERSION.value: "DatasetVersion",
    SubjectKind.JOB.value: "Job",
}
"""From the kind of a lesson's subject to its type."""
AUTHOR_TYPES = {"USER": "User", "SERVICE_ACCOUNT": "ServiceAccount"}


@object_type("LessonEvidence", table=Lesson)
class LessonEvidenceType:
    """What a lesson was learned from."""

    subject = reference(Lesson.subject_kind, Lesson.subject_id, types=SUBJECT_TYPES)


@node("Lesson", table=Lesson, visible=visible_lessons, permission=DISCOVER, team=Lesson.team_id)
class LessonType:
    """What somebody learned about a model version, a data set or a run, also one that led nowhere."""

    summary: str = column(Lesson.summary)
    body: str = column(Lesson.body, description="Markdown.")
    outcome: LessonOutcome = column(Lesson.outcome)
    dont_use_when: str | None = column(Lesson.dont_use_when)
    tags: list[str] = column(Lesson.tags)
    subject = reference(Lesson.subject_kind, Lesson.subject_id, types=SUBJECT_TYPES)
    evidence = embedded("LessonEvidence")
    model = one("Model", local=Lesson.model_id, description="The model that it is shown on.")
    dataset = one("Dataset", local=Lesson.dataset_id, description="The data set that it is shown on.")
    team = one("Team", local=Lesson.team_id, nullable=False, description="The team whose work it is about.")
    author = one(
        "User",
        local=case((Lesson.author_kind == "USER", Lesson.author_id)),
        description="Null where a program wrote it: see `writtenBy`.",
    )
    written_by = reference(Lesson.author_kind, Lesson.author_id, types=AUTHOR_TYPES)
    created_at: datetime = column(Lesson.created_at)


@extend("Dataset")
class DatasetLessons:
    """What was learned about a data set and its versions."""

    lessons = connection("Lesson", local=Dataset.id, remote=Lesson.dataset_id, default_order=[Lesson.created_at.desc()])


TYPES = [LessonEvidenceType, LessonType, DatasetLessons]
