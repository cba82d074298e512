"""Reads whose bytes are leaving: the rule is asked again while they do, for no more than it costs."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, select, true

from guildhall.auth.actor import Actor
from guildhall.auth.standing import is_standing
from guildhall.db.transaction import ReadSession
from guildhall.errors import NotFound
from registry.access.decision import decide_read, reading_person, reading_teams
from registry.access.jobs import JobInputs
from registry.access.reading import AccessRefused, OpenedFile, open_files
from registry.access.tables import AccessGrant
from registry.artifacts.packages import READ as READ_PACKAGE
from registry.datasets.tables import Dataset, DatasetVersion
from registry.models.tables import Model, ModelVersion


class ReadUnderWay:
    """One announced read of data or a model, asked at intervals whether it may go on.

    A grant that the record names must still be there, whatever else would open the data now; so must every other that
    the rule needs. What goes by role costs one statement for as long as nothing was said anew about the data or the
    caller. When the caller is another object, their roles are other ones: the whole rule is asked again.
    """

    def __init__(self, actor: Actor, file: OpenedFile, job_inputs: JobInputs) -> None:
        self.actor = actor
        self._file = file
        self._job_inputs = job_inputs
        self._open_by_role: object = None

    async def may_go_on(self, session: ReadSession, *, at: datetime) -> bool | None:
        """Whether the bytes may still leave, as they were announced; None where the caller is not who they were."""
        stands, *said = (await session.execute(self._said(at))).one()
        if not stands or not self.actor.policy.covers(at):
            return None
        return await self._goes_by_rule(session, said, at)

    async def may_go_on_for(self, session: ReadSession, actor: Actor, *, at: datetime) -> bool:
        """The same for the caller as they are now."""
        self.actor, self._open_by_role = actor, None
        try:
            await open_files(session, actor, [self._file.artifact_id], job_inputs=self._job_inputs, at=at)
        except (NotFound, AccessRefused):
            return False
        _, *said = (await session.execute(self._said(at))).one()
        return await self._goes_by_rule(session, said, at)

    async def _goes_by_rule(self, session: ReadSession, said: list[Any], at: datetime) -> bool:
        file, (is_live, *of_data) = self._file, said
        if file.action == READ_PACKAGE:
            return True
        if not is_live:
            return False
        by_role = (of_data, at.date())
        if by_role == self._open_by_role:
            return True
        decision = await decide_read(
            session,
            actor_user_id=reading_person(self.actor, file.action),
            team_ids=reading_teams(self.actor, file.action),
            resource=file.resources[0],
            purpose=file.purpose,
            at=at,
        )
        if decision.allowed and decision.grant_id is None and file.grant_id is None:
            self._open_by_role = by_role
        return decision.allowed and (decision.limits is None or file.limits is not None)

    def _said(self, at: datetime) -> Select[*tuple[Any, ...]]:
        """Whether the caller stands, whether the grant that the record names counts, and what makes a role enough."""
        file = self._file
        grant: ColumnElement[bool] = true()
        if file.grant_id is not None:
            live = (AccessGrant.id == file.grant_id, AccessGrant.withdrawn_at.is_(None), AccessGrant.valid_to > at)
            grant = exists().where(*live)
        said: Select[*tuple[Any, ...]] = select(is_standing(self.actor), grant)
        if file.action == READ_PACKAGE:
            return said
        resource = file.resources[0]
        if resource.type == "ModelVersion":
            return (
                said.add_columns(
                    ModelVersion.effective_classification,
                    ModelVersion.effective_permitted_purposes,
                    ModelVersion.effective_retention_ends_on,
                    Model.visibility,
                    Model.team_id,
                )
                .join_from(ModelVersion, Model, Model.id == ModelVersion.model_id)
                .where(ModelVersion.id == resource.id)
            )
        return (
            said.add_columns(
                Dataset.classification,
                Dataset.permitted_purposes,
                Dataset.retention_ends_on,
                Dataset.visibility,
                Dataset.team_id,
            )
            .join_from(DatasetVersion, Dataset, Dataset.id == DatasetVersion.dataset_id)
            .where(DatasetVersion.id == resource.id)
        )
