"""Reads whose bytes are leaving: the rule is asked again while they do, for no more than it costs."""

from datetime import datetime
from typing import Any

from sqlalchemy import select

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.db.transaction import ReadSession
from guildhall.errors import NotFound
from registry.access.announcing import is_live
from registry.access.decision import decide_read, reading_person, reading_teams
from registry.access.jobs import JobInputs
from registry.access.reading import AccessRefused, OpenedFile, open_files
from registry.artifacts.packages import READ as READ_PACKAGE
from registry.datasets.tables import Dataset, DatasetVersion
from registry.models.tables import Model, ModelVersion


class ReadUnderWay:
    """One announced read of data or a model, asked at intervals whether it may go on.

    A grant that the record names must still be there, whatever else would open the data now; so must every other that
    the rule needs. What goes by role costs one statement for as long as nothing was said anew about the data. When the
    caller is another object, their roles are other ones: the whole rule is asked again.
    """

    def __init__(self, actor: Actor, file: OpenedFile, job_inputs: JobInputs) -> None:
        self.actor = actor
        self._file = file
        self._job_inputs = job_inputs
        self._open_by_role: object = None

    async def may_go_on(self, session: ReadSession, actor: Actor, *, at: datetime) -> bool:
        """Whether the bytes may still leave, to the caller as they are now, as they were announced."""
        file, said = self._file, None
        if actor is not self.actor:
            self.actor, self._open_by_role = actor, None
            try:
                await open_files(session, actor, [file.artifact_id], job_inputs=self._job_inputs, at=at)
            except (NotFound, AccessRefused):
                return False
        if file.action == READ_PACKAGE:
            return True
        if file.grant_id is not None:
            if not await is_live(session, file.grant_id, at=at):
                return False
        else:
            said = (await _said_of(session, file.resources[0]), at.date())
            if said == self._open_by_role:
                return True
        decision = await decide_read(
            session,
            actor_user_id=reading_person(actor, file.action),
            team_ids=reading_teams(actor, file.action),
            resource=file.resources[0],
            purpose=file.purpose,
            at=at,
        )
        self._open_by_role = said if decision.allowed and decision.grant_id is None else None
        return decision.allowed and (decision.limits is None or file.limits is not None)


async def _said_of(session: ReadSession, resource: ResourceRef) -> tuple[Any, ...]:
    """All that makes a role enough, in one statement; retention by the day is the caller's."""
    if resource.type == "ModelVersion":
        statement = (
            select(
                ModelVersion.effective_classification,
                ModelVersion.effective_permitted_purposes,
                ModelVersion.effective_retention_ends_on,
                Model.visibility,
            )
            .join(Model, Model.id == ModelVersion.model_id)
            .where(ModelVersion.id == resource.id)
        )
    else:
        statement = (
            select(Dataset.classification, Dataset.permitted_purposes, Dataset.retention_ends_on, Dataset.visibility)
            .join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
            .where(DatasetVersion.id == resource.id)
        )
    return tuple((await session.execute(statement)).one())
