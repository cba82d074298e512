"""Who may see which jobs, and finding one by id: what is outside a caller's sight is not there."""

from uuid import UUID

from sqlalchemy import ColumnElement, select

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import team_rows
from guildhall.auth.subjects import ActorKind
from guildhall.db.transaction import ReadSession
from guildhall.errors import NotFound
from scheduler.jobs.tables import Job

READ = "scheduler:job:read"
READ_LOG = "scheduler:log:read"


def visible_jobs(actor: Actor) -> ColumnElement[bool]:
    """Which rows of `jobs` exist for the actor: those of teams whose jobs they may see; a job sees itself."""
    if actor.kind is ActorKind.JOB:
        return Job.id == actor.id
    return team_rows(actor, team_column=Job.team_id, permission=READ)


async def find_job(session: ReadSession, actor: Actor, job_id: UUID, *, field: str) -> Job:
    """The job, or NotFound about the input's field."""
    job = await session.scalar(select(Job).where(Job.id == job_id, visible_jobs(actor)))
    if job is None:
        raise NotFound("There is no such job.", field=field)
    return job
