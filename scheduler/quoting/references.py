"""What a job names: package, inputs and output; each visible to whoever asks, finished, readable for its purpose."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.db.transaction import ReadSession
from guildhall.errors import NotFound, Problem
from registry.access.decision import READ_PERMISSIONS, AccessDecision
from registry.access.reading import AccessRefused
from registry.artifacts.packages import find_package
from registry.artifacts.tables import PackageState
from registry.datasets.lookup import dataset_refs, find_dataset_version
from registry.datasets.tables import Classification
from registry.models.lookup import find_model, find_version
from scheduler.job_access import RESOURCE_TYPES, decide_input
from scheduler.jobs.spec import InputKind, InputSpec, JobSpec

MENDED_BY_ANOTHER_INPUT = frozenset({"NOT_READY", "RETENTION_ENDED"})


@dataclass(frozen=True, kw_only=True)
class FoundInput:
    """An input that is there. `regions` None: it may be kept anywhere."""

    resources: tuple[ResourceRef, ...]
    sensitive: bool
    regions: frozenset[str] | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a job's references say about where it may run."""

    inputs: tuple[FoundInput, ...]

    @property
    def sensitive(self) -> bool:
        """Whether any input is RESTRICTED."""
        return any(each.sensitive for each in self.inputs)

    @property
    def regions(self) -> frozenset[str] | None:
        """Where all inputs may be; None means anywhere."""
        limits = [each.regions for each in self.inputs if each.regions is not None]
        return frozenset.intersection(*limits) if limits else None


async def find_references(
    session: ReadSession, actor: Actor, *, team_id: UUID, spec: JobSpec, problems: list[Problem], at: datetime
) -> Found:
    """Look everything up; what another input would mend is added to `problems`.

    Raises AccessRefused, once nothing else is wrong, for an input that the team may not read.
    """
    await _check_package(session, actor, team_id, spec, problems)
    await _check_output(session, actor, team_id, spec, problems)
    found: list[FoundInput] = []
    refused: list[tuple[int, FoundInput, AccessDecision]] = []
    for index, each in enumerate(spec.inputs):
        field = f"job.inputs[{index}]"
        try:
            here = await _find_input(session, actor, each, field=f"{field}.source")
        except NotFound as error:
            problems.append(Problem(error.code, error.message, error.field))
            continue
        found.append(here)
        decision = await decide_input(
            session,
            team_id=team_id,
            submitted_by=actor.id if actor.kind is ActorKind.USER else None,
            kind=each.kind,
            source_id=each.source_id,
            purpose=each.purpose,
            at=at,
        )
        if decision.reason is None:
            continue
        if decision.reason.code in MENDED_BY_ANOTHER_INPUT:
            problems.append(Problem(decision.reason.code, decision.reason.message, f"{field}.source"))
        else:
            refused.append((index, here, decision))
    if refused and not problems:
        raise _refusal(spec.inputs, refused, team_id)
    return Found(inputs=tuple(found))


async def _check_package(
    session: ReadSession, actor: Actor, team_id: UUID, spec: JobSpec, problems: list[Problem]
) -> None:
    if spec.package_id is None:
        return
    field = "job.source.packageId"
    try:
        package = await find_package(session, actor, spec.package_id, field=field)
    except NotFound as error:
        problems.append(Problem(error.code, error.message, field))
        return
    if package.team_id != team_id:
        problems.append(Problem("PACKAGE_OF_ANOTHER_TEAM", "A job runs a package of its own team.", field))
    elif package.state != PackageState.READY:
        message = "The package's archive is not uploaded yet: end it with completeUploads."
        problems.append(Problem("PACKAGE_NOT_READY", message, field))


async def _check_output(
    session: ReadSession, actor: Actor, team_id: UUID, spec: JobSpec, problems: list[Problem]
) -> None:
    if spec.output is None:
        return
    field = "job.output.modelId"
    try:
        model = await find_model(session, actor, spec.output.model_id, field=field)
    except NotFound as error:
        problems.append(Problem(error.code, error.message, field))
        return
    if model.team_id != team_id:
        message = f"The model {model.name} is another team's: a job adds versions to models of its own team."
        problems.append(Problem("MODEL_OF_ANOTHER_TEAM", message, field))


async def _find_input(session: ReadSession, actor: Actor, each: InputSpec, *, field: str) -> FoundInput:
    if each.kind is InputKind.DATASET_VERSION:
        found = await find_dataset_version(session, actor, each.source_id, field=f"{field}.datasetVersionId")
        return FoundInput(
            resources=dataset_refs(found.dataset.id, found.row.id),
            sensitive=found.dataset.classification == Classification.RESTRICTED,
            regions=frozenset(found.dataset.regions),
        )
    version = await find_version(session, actor, each.source_id, field=f"{field}.modelVersionId")
    regions = version.row.effective_regions
    return FoundInput(
        resources=version.resources,
        sensitive=version.row.effective_classification == Classification.RESTRICTED,
        regions=None if regions is None else frozenset(regions),
    )


def _refusal(
    inputs: Sequence[InputSpec], refused: Sequence[tuple[int, FoundInput, AccessDecision]], team_id: UUID
) -> AccessRefused:
    index, _, decision = refused[0]
    assert decision.reason is not None, "a refusal has a reason"
    return AccessRefused(
        f"The job's team may not read the input {inputs[index].mount_path} for {inputs[index].purpose}. "
        f"{decision.reason.message}",
        permission=READ_PERMISSIONS[RESOURCE_TYPES[inputs[index].kind]],
        resources=[resource for _, here, _ in refused for resource in here.resources],
        team_id=team_id,
        purpose=inputs[index].purpose,
        field=f"job.inputs[{index}]",
        details={"reason": decision.reason.code},
    )
