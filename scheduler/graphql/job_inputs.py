"""The job of a quote as callers write it, and its translation into a spec."""

from datetime import datetime

from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import input_type, one_of_input
from guildhall.graphql.scalars import ID, BigInt
from marketplace.tables import Tier
from scheduler.jobs.spec import InputKind, InputSpec, JobSpec, NodeSpec, OutputSpec
from scheduler.quoting.checks import START_BY_DEFAULT


@one_of_input
class JobSourceInput:
    """Where the job's code comes from: a package of the team, or a container image."""

    package_id: ID | None = None
    image: str | None = None


@one_of_input
class JobInputSourceInput:
    """What an input is: a version of a data set or of a model."""

    dataset_version_id: ID | None = None
    model_version_id: ID | None = None


@input_type
class JobInputInput:
    """One thing that the job reads; `mountPath` is a folder in its workspace."""

    source: JobInputSourceInput
    mount_path: str
    purpose: str


@input_type
class JobOutputInput:
    """The model that gets a new version from what lies in the folder `path` when the command has ended well."""

    model_id: ID
    path: str


@input_type
class JobNodeInput:
    """What each node of the job has; without `accelerator` any kind will do."""

    accelerator: str | None = None
    accelerator_count: int = 1
    cpu: float | None = None
    memory_bytes: BigInt | None = None
    disk_bytes: BigInt | None = None


@input_type
class EnvironmentVariableInput:
    """One variable of the command's environment."""

    name: str
    value: str


@input_type
class JobSpecInput:
    """What to run. `startBy` is in 24 hours where it is left out; `pools` narrows the choice to those named."""

    name: str
    command: list[str]
    source: JobSourceInput
    per_node: JobNodeInput
    walltime_seconds: int
    inputs: list[JobInputInput] | None = None
    output: JobOutputInput | None = None
    nodes: int = 1
    tier: Tier = Tier.STANDARD
    start_by: datetime | None = None
    environment: list[EnvironmentVariableInput] | None = None
    pools: list[str] | None = None


def job_spec(given: JobSpecInput, *, at: datetime) -> JobSpec:
    """The spec, its ids opened; raises UnknownId with the path of the input. All else is checked by the quote."""
    package, output, node = given.source.package_id, given.output, given.per_node
    return JobSpec(
        name=given.name,
        command=tuple(given.command),
        package_id=None if package is None else decode_id(package, "Package", field="job.source.packageId"),
        image=given.source.image,
        inputs=tuple(_input(each, f"job.inputs[{index}].source") for index, each in enumerate(given.inputs or ())),
        output=None
        if output is None
        else OutputSpec(model_id=decode_id(output.model_id, "Model", field="job.output.modelId"), path=output.path),
        nodes=given.nodes,
        per_node=NodeSpec(
            accelerator=node.accelerator,
            accelerator_count=node.accelerator_count,
            cpu=node.cpu,
            memory_bytes=node.memory_bytes,
            disk_bytes=node.disk_bytes,
        ),
        walltime_seconds=given.walltime_seconds,
        tier=given.tier,
        start_by=given.start_by or at + START_BY_DEFAULT,
        environment=tuple((variable.name, variable.value) for variable in given.environment or ()),
    )


def _input(given: JobInputInput, field: str) -> InputSpec:
    dataset, model = given.source.dataset_version_id, given.source.model_version_id
    if dataset is not None:
        kind, source_id = (
            InputKind.DATASET_VERSION,
            decode_id(dataset, "DatasetVersion", field=f"{field}.datasetVersionId"),
        )
    else:
        assert model is not None, "exactly one of the sources is given"
        kind, source_id = InputKind.MODEL_VERSION, decode_id(model, "ModelVersion", field=f"{field}.modelVersionId")
    return InputSpec(kind=kind, source_id=source_id, mount_path=given.mount_path, purpose=given.purpose)
