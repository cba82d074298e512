"""A job as the subject of a lesson: what was learned from a run, also from one that led nowhere."""

from uuid import UUID

from guildhall.auth.actor import Actor
from guildhall.db.transaction import ReadSession
from registry.lessons.recording import LessonSubject, lesson_subject_for_registry
from registry.lessons.tables import SubjectKind
from scheduler.jobs.lookup import find_job
from scheduler.jobs.spec import JobSpec

SUBJECTS = {
    "ModelVersion": SubjectKind.MODEL_VERSION,
    "Dataset": SubjectKind.DATASET,
    "DatasetVersion": SubjectKind.DATASET_VERSION,
    "Job": SubjectKind.JOB,
}
"""What a lesson can be about, by the name of its type."""


async def find_lesson_subject(
    session: ReadSession, actor: Actor, type_name: str, subject_id: UUID, *, field: str
) -> LessonSubject:
    """The subject, visible to the actor; raises NotFound. A lesson on a job is shown on the model it was to make."""
    kind = SUBJECTS[type_name]
    if kind is not SubjectKind.JOB:
        return await lesson_subject_for_registry(session, actor, kind, subject_id, field=field)
    job = await find_job(session, actor, subject_id, field=field)
    output = JobSpec.from_json(job.spec).output
    return LessonSubject(
        kind=kind,
        id=job.id,
        team_id=job.team_id,
        model_id=None if output is None else output.model_id,
        job_id=job.id,
    )
