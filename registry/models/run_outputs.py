"""The output of a run becomes a model version, with what the platform saw of the run."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from guildhall.audit.record import record
from guildhall.auth.actor import Actor, JobClaims
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.errors import Conflict, NotFound
from registry.access.readings import grants_of_run
from registry.artifacts.files import FileSpec
from registry.artifacts.owners import OwnerRef
from registry.artifacts.planning import plan_uploads
from registry.artifacts.tables import OwnerKind
from registry.cards.run_sections import compose_run_sections
from registry.cards.tables import SectionOrigin
from registry.cards.writing import write_sections
from registry.lineage.edges import Edge, LineageSource, write_edges
from registry.lineage.environments import ensure_environment
from registry.lineage.tables import EdgeBasis, EdgeKind, NodeKind
from registry.models.declaring import ADD_VERSION
from registry.models.lookup import version_resources
from registry.models.numbering import Producer, insert_version
from registry.models.reported import Metric, fitting_metrics, require_parameters, write_metrics
from registry.models.tables import Model, ModelVersion, ModelVersionStatus

_INPUT_EDGES = {
    NodeKind.DATASET_VERSION: EdgeKind.TRAINED_ON,
    NodeKind.MODEL_VERSION: EdgeKind.FINE_TUNED_FROM,
}


class OutputElsewhere(Conflict):
    """The attempt has registered its one output already, on another model."""

    code = "OUTPUT_ELSEWHERE"


@dataclass(frozen=True)
class RunOutput:
    """The version that the attempt makes; `made` is False where an earlier call had made it.

    Its uploads are `registry.artifacts.planning.pending_uploads` of `owner`; once complete, the version is READY.
    """

    model_version_id: UUID
    made: bool

    @property
    def owner(self) -> OwnerRef:
        """The version as the owner of its files."""
        return OwnerRef(OwnerKind.MODEL_VERSION, self.model_version_id)


async def register_run_output(
    session: WriteSession,
    actor: Actor,
    *,
    model_id: UUID,
    files: Sequence[FileSpec],
    metrics: Sequence[Metric],
    parameters: Mapping[str, Any] | None,
    environment: Mapping[str, Any],
    inputs: Sequence[LineageSource],
    read_since: datetime | None = None,
    read_under_grants: Collection[UUID] = (),
    package_id: UUID | None,
    job_id: UUID,
    card: Mapping[str, str],
    at: datetime,
    new_id: IdSource,
) -> RunOutput:
    """Make a DRAFT version from what an attempt produced; the actor is the job. The same attempt gets the same answer.

    `inputs` are what our API served to the attempt, from `read_since` on; those that are `read_under_grants` it opened
    under a grant each time. `card` are sections that the script wrote. What an earlier attempt of the job left
    unfinished is abandoned.
    """
    claims = actor.job
    assert claims is not None, "only a job registers the output of a run"
    assert claims.job_id == job_id, "a job registers its own output"
    await _abandon_earlier(session, claims)
    model_team_id = await _require_output_model(session, actor, model_id)
    made = await _made_before(session, claims, model_id)
    if made is not None:
        return RunOutput(made, made=False)
    reported = fitting_metrics(metrics)
    given = require_parameters(parameters)
    version_id = await insert_version(
        session, model_id=model_id, parameters=given, producer=Producer(claims.job_id, claims.attempt_id),
        created_by=claims.submitted_by, at=at, new_id=new_id,
    )  # fmt: skip
    await write_metrics(session, model_version_id=version_id, metrics=reported, new_id=new_id)
    environment_id = await ensure_environment(session, environment, at=at, new_id=new_id)
    grants = await grants_of_run(session, claims, read_under_grants, since=read_since, at=at)
    await write_edges(
        session, model_version_id=version_id, edges=_observed(inputs, grants, package_id, environment_id, job_id),
        basis=EdgeBasis.OBSERVED, job_id=job_id, at=at, new_id=new_id,
    )  # fmt: skip
    sections = await compose_run_sections(
        session, inputs=inputs, package_id=package_id, environment=environment, metrics=reported, parameters=given,
        written=card,
    )  # fmt: skip
    await write_sections(
        session, model_version_id=version_id, sections=sections, origin=SectionOrigin.RUN,
        written_by=claims.submitted_by, at=at, new_id=new_id,
    )  # fmt: skip
    output = RunOutput(version_id, made=True)
    await plan_uploads(session, owner=output.owner, files=files, at=at, new_id=new_id)
    await record(
        session,
        actor,
        action=ADD_VERSION,
        team_id=model_team_id,
        resources=[*version_resources(version_id, model_id), ResourceRef("Job", job_id)],
        after={"files": len(files), "inputs": [str(source.id) for source in inputs]},
        at=at,
        new_id=new_id,
    )
    return output


async def _require_output_model(session: WriteSession, actor: Actor, model_id: UUID) -> UUID:
    """The model's team, which is the job's; held, so that two calls of one attempt come one after the other."""
    statement = select(Model.team_id).where(Model.id == model_id).with_for_update(key_share=True)
    team_id = await session.scalar(statement)
    if team_id is None:
        raise NotFound("There is no such model.", field="modelId")
    require(actor, ADD_VERSION, team_id=team_id, resource=ResourceRef("Model", model_id))
    return team_id


async def _made_before(session: WriteSession, claims: JobClaims, model_id: UUID) -> UUID | None:
    statement = select(ModelVersion.id, ModelVersion.model_id)
    row = (
        await session.execute(statement.where(ModelVersion.produced_by_attempt_id == claims.attempt_id))
    ).one_or_none()
    if row is None:
        return None
    version_id, made_on = row
    if made_on != model_id:
        raise OutputElsewhere("This attempt has registered its output on another model.", field="modelId")
    return version_id


async def _abandon_earlier(session: WriteSession, claims: JobClaims) -> None:
    """Comes before the model's row is held: whoever changes a version holds it first, and the model's row after it."""
    await session.execute(
        update(ModelVersion)
        .where(ModelVersion.produced_by_job_id == claims.job_id, ModelVersion.status == ModelVersionStatus.DRAFT)
        .where(ModelVersion.produced_by_attempt_id != claims.attempt_id)
        .values(
            status=ModelVersionStatus.ABANDONED,
            status_code="ATTEMPT_ENDED",
            status_message="The attempt that made this version ended before its files were complete.",
        )
        .execution_options(synchronize_session=False)
    )


def _observed(
    inputs: Sequence[LineageSource],
    grants: Mapping[UUID, tuple[UUID, ...]],
    package_id: UUID | None,
    environment_id: UUID,
    job_id: UUID,
) -> list[Edge]:
    edges = [Edge(_INPUT_EDGES[source.kind], source, grants.get(source.id)) for source in dict.fromkeys(inputs)]
    if package_id is not None:
        edges.append(Edge(EdgeKind.BUILT_FROM, LineageSource(NodeKind.PACKAGE, package_id)))
    edges.append(Edge(EdgeKind.RAN_IN, LineageSource(NodeKind.ENVIRONMENT, environment_id)))
    edges.append(Edge(EdgeKind.PRODUCED_BY, LineageSource(NodeKind.JOB, job_id)))
    return edges
