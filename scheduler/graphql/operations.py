"""What is done with jobs: cancel one, and write down what one taught."""

from collections.abc import Mapping
from typing import Any

from guildhall.graphql.context import Call
from guildhall.graphql.declare import extend, one, payload
from guildhall.graphql.ids import decode_id, decode_reference
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from registry.lessons.recording import RECORD, record_lesson
from registry.lessons.tables import LessonOutcome
from scheduler.jobs.cancelling import CANCEL, cancel_job
from scheduler.jobs.lessons import SUBJECTS, find_lesson_subject


@input_type
class CancelJobInput(MutationInput):
    """Which job, and why."""

    job_id: ID
    reason: str


@payload
class CancelJobPayload:
    """The job: cancelled, or being stopped."""

    job = one("Job", local="job")


@input_type
class RecordLessonInput(MutationInput):
    """About a model version, a data set, a version of one, or a job."""

    subject_id: ID
    summary: str
    body: str = ""
    outcome: LessonOutcome
    dont_use_when: str | None = None
    tags: list[str] | None = None


@payload
class RecordLessonPayload:
    """The lesson."""

    lesson = one("Lesson", local="lesson")


@extend("Mutation")
class JobMutations:
    """What is done with jobs."""

    @mutation(permission=CANCEL, payload=CancelJobPayload)
    async def cancel_job(call: Call, given: CancelJobInput) -> Mapping[str, Any]:
        """End a job: at once where it waits, by a stop where it runs."""
        job_id = decode_id(given.job_id, "Job", field="jobId")
        cancelled = await cancel_job(
            call.session, call.actor, job_id=job_id, reason=given.reason, at=call.at, new_id=call.new_id
        )
        return {"job": cancelled}

    @mutation(permission=RECORD, payload=RecordLessonPayload)
    async def record_lesson(call: Call, given: RecordLessonInput) -> Mapping[str, Any]:
        """Write down what was learned, also from what failed."""
        type_name, subject_id = decode_reference(given.subject_id, *SUBJECTS, field="subjectId")
        subject = await find_lesson_subject(call.session, call.actor, type_name, subject_id, field="subjectId")
        lesson_id = await record_lesson(
            call.session,
            call.actor,
            subject=subject,
            summary=given.summary,
            body=given.body,
            outcome=given.outcome,
            dont_use_when=given.dont_use_when,
            tags=given.tags or (),
            at=call.at,
            new_id=call.new_id,
        )
        return {"lesson": lesson_id}


TYPES = [CancelJobPayload, RecordLessonPayload, JobMutations]
