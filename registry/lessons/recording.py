"""Writing down what was learned, and who may see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, insert, or_, select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require, team_rows
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Invalid, NotFound
from registry.datasets.lookup import visible_datasets
from registry.datasets.tables import Dataset, DatasetVersion
from registry.lessons.tables import Lesson, LessonOutcome, SubjectKind
from registry.models.lookup import DISCOVER, find_version, visible_models
from registry.models.tables import Model
from registry.texts import require_tags, require_text

RECORD = "registry:lesson:record"
SUMMARY_CHARACTERS_MAX = 300
BODY_CHARACTERS_MAX = 20_000
_SUBJECT_TYPES = {
    SubjectKind.MODEL_VERSION: "ModelVersion",
    SubjectKind.DATASET: "Dataset",
    SubjectKind.DATASET_VERSION: "DatasetVersion",
    SubjectKind.JOB: "Job",
}


class LessonNeedsPerson(Invalid):
    """A job or the platform has nothing to say for itself."""

    code = "LESSON_NEEDS_PERSON"


@dataclass(frozen=True, kw_only=True)
class LessonSubject:
    """What a lesson is about, found and visible to the actor.

    `team_id` is the subject's team, `model_id` and `dataset_id` are where the lesson is shown, `job_id` its evidence.
    """

    kind: SubjectKind
    id: UUID
    team_id: UUID
    model_id: UUID | None = None
    dataset_id: UUID | None = None
    job_id: UUID | None = None


def visible_lessons(actor: Actor) -> ColumnElement[bool]:
    """Which rows of `lessons` exist for the actor: as what they are shown on; one on a bare job within its team."""
    on_model = exists().where(Model.id == Lesson.model_id, visible_models(actor))
    on_dataset = exists().where(Dataset.id == Lesson.dataset_id, visible_datasets(actor))
    in_team = team_rows(actor, team_column=Lesson.team_id, permission=DISCOVER)
    return or_(on_model, on_dataset, and_(Lesson.model_id.is_(None), Lesson.dataset_id.is_(None), in_team))


async def lesson_subject_for_registry(
    session: ReadSession, actor: Actor, kind: SubjectKind, subject_id: UUID, *, field: str = "subjectId"
) -> LessonSubject:
    """The subject of a lesson on a model version, a data set or a version of one; raises NotFound about the field."""
    if kind == SubjectKind.MODEL_VERSION:
        version = await find_version(session, actor, subject_id, field=field)
        return LessonSubject(
            kind=kind,
            id=subject_id,
            team_id=version.model.team_id,
            model_id=version.model.id,
            job_id=version.row.produced_by_job_id,
        )
    assert kind in {SubjectKind.DATASET, SubjectKind.DATASET_VERSION}, "jobs are the scheduler's to find"
    statement = select(Dataset.id, Dataset.team_id).where(visible_datasets(actor))
    if kind == SubjectKind.DATASET:
        statement = statement.where(Dataset.id == subject_id)
    else:
        statement = statement.join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
        statement = statement.where(DatasetVersion.id == subject_id)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFound("There is no such model version, data set or job.", field=field)
    dataset_id, team_id = row
    return LessonSubject(kind=kind, id=subject_id, team_id=team_id, dataset_id=dataset_id)


async def record_lesson(
    session: WriteSession,
    actor: Actor,
    *,
    subject: LessonSubject,
    summary: str,
    body: str,
    outcome: LessonOutcome,
    dont_use_when: str | None = None,
    tags: Sequence[str] = (),
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Write the lesson and return its id.

    Whoever may record lessons in some team may record them on all that they see: the team that reuses a model learns
    what its maker cannot know.
    """
    if actor.kind not in {ActorKind.USER, ActorKind.SERVICE_ACCOUNT}:
        raise LessonNeedsPerson("Lessons are written by people and service accounts.")
    resources = [ResourceRef(_SUBJECT_TYPES[subject.kind], subject.id)]
    if actor.teams_where(RECORD) == frozenset():
        require(actor, RECORD, team_id=subject.team_id, resource=resources[0])
    lesson_id = new_id()
    await session.execute(
        insert(Lesson).values(
            id=lesson_id,
            subject_kind=subject.kind,
            subject_id=subject.id,
            team_id=subject.team_id,
            model_id=subject.model_id,
            dataset_id=subject.dataset_id,
            job_id=subject.job_id,
            summary=require_text(summary, "summary", characters_max=SUMMARY_CHARACTERS_MAX),
            body=require_text(body, "body", characters_max=BODY_CHARACTERS_MAX, empty_allowed=True),
            outcome=outcome,
            dont_use_when=require_text(
                dont_use_when, "dontUseWhen", characters_max=BODY_CHARACTERS_MAX, empty_allowed=True
            )
            or None,
            tags=require_tags(tags),
            author_kind=actor.kind,
            author_id=actor.id,
            created_at=at,
        )
    )
    whole = [("Model", subject.model_id), ("Dataset", subject.dataset_id), ("Job", subject.job_id)]
    resources += [ResourceRef(name, key) for name, key in whole if key is not None and key != subject.id]
    await record(
        session,
        actor,
        action=RECORD,
        team_id=subject.team_id,
        resources=[ResourceRef("Lesson", lesson_id), *resources],
        after={"outcome": outcome},
        at=at,
        new_id=new_id,
    )
    return lesson_id
