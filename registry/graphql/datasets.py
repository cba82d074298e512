"""Data sets and their versions."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, func, or_, select

from guildhall.auth.tables import Team, User
from guildhall.graphql.context import Call, Context
from guildhall.graphql.declare import (
    column,
    connection,
    embedded,
    extend,
    find,
    json_list,
    many,
    node,
    object_type,
    one,
    payload,
)
from guildhall.graphql.filters import filters, matches
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.recording import Recorded
from guildhall.graphql.scalars import ID, BigInt
from guildhall.graphql.sources import Clauses, Orders, Scope
from registry.access.tables import AccessGrant, AccessGrantResource
from registry.artifacts.tables import Artifact, OwnerKind
from registry.datasets.changing import update_legal_record
from registry.datasets.legal import LegalRecord
from registry.datasets.lookup import DISCOVER, visible_dataset_versions, visible_datasets
from registry.datasets.registration import REGISTER, register_dataset
from registry.datasets.stewards import STEWARD
from registry.datasets.tables import (
    CLOSED,
    Classification,
    Dataset,
    DatasetSteward,
    DatasetVersion,
    DatasetVersionState,
    Visibility,
)
from registry.datasets.versions import ADD_VERSION, ColumnSpec, create_dataset_version
from registry.graphql.access import viewer_access
from registry.graphql.artifacts import FileInput, uploads_of
from registry.lineage.tables import LineageEdge, NodeKind
from registry.models.lookup import visible_model_versions
from registry.models.tables import ModelVersion

USED_BY = {NodeKind.MODEL_VERSION.value: "ModelVersion", NodeKind.DATASET_VERSION.value: "DatasetVersion"}
"""From the kind of what was made from a data set to its type."""

USES = (
    select(
        DatasetVersion.dataset_id.label("dataset_id"),
        LineageEdge.from_kind.label("kind"),
        LineageEdge.from_id.label("id"),
        func.min(LineageEdge.created_at).label("since"),
    )
    .join(LineageEdge, LineageEdge.to_id == DatasetVersion.id)
    .where(LineageEdge.to_kind == NodeKind.DATASET_VERSION)
    .group_by(DatasetVersion.dataset_id, LineageEdge.from_kind, LineageEdge.from_id)
    .subquery("uses")
)
"""What was made directly from a data set: each thing once, however many of its versions it used."""


def _uses(context: Context) -> Scope:
    """Newest first, and only what the caller may see, so that the total counts nothing else."""
    models = select(ModelVersion.id).where(visible_model_versions(context.actor))
    datasets = select(DatasetVersion.id).where(visible_dataset_versions(context.actor))
    visible = or_(
        and_(USES.c.kind == NodeKind.MODEL_VERSION, USES.c.id.in_(models)),
        and_(USES.c.kind == NodeKind.DATASET_VERSION, USES.c.id.in_(datasets)),
    )
    return Scope(rows=USES, where=[visible], order_by=[USES.c.since.desc()])


@object_type("LegalRecord", table=Dataset)
class LegalRecordType:
    """Under what terms the data is here, for what it may be used, until when and where."""

    licence: str = column(Dataset.licence)
    legal_basis: str = column(Dataset.legal_basis)
    consent: str | None = column(Dataset.consent, description="How the persons concerned agreed.")
    permitted_purposes: list[str] = column(Dataset.permitted_purposes)
    retention_ends_on: date | None = column(
        Dataset.retention_ends_on, description="The last day; null: without an end."
    )
    regions: list[str] = column(Dataset.regions)


@object_type("DatasetColumn")
class DatasetColumnType:
    """One column; `personal` says that its values are about persons."""

    name: str
    type_: str = column("type")
    unit: str | None
    personal: bool


VERSION_ORDERS = Orders("DatasetVersion", {"CREATED_AT": DatasetVersion.created_at, "NUMBER": DatasetVersion.number})


@node(
    "Dataset",
    table=Dataset,
    visible=visible_datasets,
    permission=DISCOVER,
    team=Dataset.team_id,
    recorded=Recorded(Dataset.classification.in_(CLOSED), [("Dataset", Dataset.id)]),
)
class DatasetType:
    """A data set: to discover it is not to read it."""

    team = one("Team", local=Dataset.team_id, nullable=False)
    name: str = column(Dataset.name, description="Unique in its team; a slug.")
    description: str = column(Dataset.description)
    visibility: Visibility = column(Dataset.visibility)
    classification: Classification = column(Dataset.classification)
    legal = embedded("LegalRecord")
    stewards = many(
        "User",
        local=Dataset.id,
        remote=DatasetSteward.dataset_id,
        through=(DatasetSteward, DatasetSteward.user_id == User.id),
        order_by=[User.email],
        description="Who decides about access.",
    )
    created_at: datetime = column(Dataset.created_at)
    versions = connection(
        "DatasetVersion",
        local=Dataset.id,
        remote=DatasetVersion.dataset_id,
        orders=VERSION_ORDERS,
        default_order=[DatasetVersion.number.desc()],
    )
    viewer_access = viewer_access("Dataset", Dataset.id)
    used_by = connection(
        "Node",
        name="DatasetUse",
        local=Dataset.id,
        remote=USES.c.dataset_id,
        scope=_uses,
        reference=("kind", "id", USED_BY),
        description="What was made from it directly, as lineage knows; newest first.",
    )
    access_grants = connection(
        "AccessGrant",
        local=Dataset.id,
        remote=AccessGrantResource.resource_id,
        through=(AccessGrantResource, AccessGrantResource.grant_id == AccessGrant.id),
        default_order=[AccessGrant.created_at.desc()],
        description="Grants to the data set as a whole, the owning team's among them, that the caller may see.",
    )


_OF_CLOSED_DATA = (
    select(Dataset.id)
    .where(Dataset.id == DatasetVersion.dataset_id, Dataset.classification.in_(CLOSED))
    .correlate(DatasetVersion.__table__)
    .exists()
)


@node(
    "DatasetVersion",
    table=DatasetVersion,
    visible=visible_dataset_versions,
    permission=DISCOVER,
    recorded=Recorded(_OF_CLOSED_DATA, [("DatasetVersion", DatasetVersion.id), ("Dataset", DatasetVersion.dataset_id)]),
)
class DatasetVersionType:
    """One state of a data set's files."""

    dataset = one("Dataset", local=DatasetVersion.dataset_id, nullable=False)
    number: int = column(DatasetVersion.number)
    state: DatasetVersionState = column(DatasetVersion.state)
    rows: BigInt | None = column(DatasetVersion.rows)
    columns = json_list("DatasetColumn", DatasetVersion.columns)
    created_at: datetime = column(DatasetVersion.created_at)
    ready_at: datetime | None = column(DatasetVersion.ready_at)
    files = connection(
        "Artifact",
        local=DatasetVersion.id,
        remote=Artifact.owner_id,
        where=[Artifact.owner_kind == OwnerKind.DATASET_VERSION],
        default_order=[Artifact.path],
    )
    viewer_access = viewer_access("DatasetVersion", DatasetVersion.id)


@filters("DatasetFilter")
class DatasetFilter:
    """Which data sets."""

    team: str = matches(Team.name, via=lambda clause: Dataset.team_id.in_(select(Team.id).where(clause)))
    name: str = matches(Dataset.name)
    classification: Classification = matches(Dataset.classification)


DATASET_ORDERS = Orders("Dataset", {"CREATED_AT": Dataset.created_at, "NAME": Dataset.name})


@extend("Query", permission=DISCOVER)
class DatasetQueries:
    """Data sets that the caller may discover."""

    datasets = connection(
        "Dataset", filter=DatasetFilter, orders=DATASET_ORDERS, default_order=[Dataset.created_at.desc()]
    )

    @find("Dataset", permission=DISCOVER)
    def dataset(team: str, name: str) -> Clauses:
        """A data set by its team and name."""
        return [Dataset.name == name, Dataset.team_id == select(Team.id).where(Team.name == team).scalar_subquery()]


@input_type
class LegalRecordInput:
    """`permittedPurposes` are on the organisation's list; `retentionEndsOn` is the last day."""

    licence: str
    legal_basis: str
    permitted_purposes: list[str]
    regions: list[str]
    retention_ends_on: date | None = None
    consent: str | None = None

    def as_record(self) -> LegalRecord:
        """As the domain names it."""
        return LegalRecord(
            licence=self.licence,
            legal_basis=self.legal_basis,
            permitted_purposes=self.permitted_purposes,
            regions=self.regions,
            retention_ends_on=self.retention_ends_on,
            consent=self.consent,
        )


@input_type
class RegisterDatasetInput(MutationInput):
    """`stewards` by address: who decides about access."""

    team: str
    name: str
    description: str
    classification: Classification
    legal: LegalRecordInput
    stewards: list[str]
    visibility: Visibility = Visibility.ORGANISATION


@payload
class RegisterDatasetPayload:
    """The data set."""

    dataset = one("Dataset", local="dataset")


@input_type
class UpdateLegalRecordInput(MutationInput):
    """The whole record as it is to be; the classification stays where none is named."""

    dataset_id: ID
    legal: LegalRecordInput
    classification: Classification | None = None


@payload
class UpdateLegalRecordPayload:
    """The data set; what was made from it has inherited the change."""

    dataset = one("Dataset", local="dataset")


@input_type
class DatasetColumnInput:
    """One column of a version."""

    name: str
    type: str
    unit: str | None = None
    personal: bool = False


@input_type
class CreateDatasetVersionInput(MutationInput):
    """All files of the version, and what is in them."""

    dataset_id: ID
    files: list[FileInput]
    columns: list[DatasetColumnInput] | None = None
    rows: BigInt | None = None


@payload
class CreateDatasetVersionPayload:
    """The version, a draft, and where its files are to be sent."""

    dataset_version = one("DatasetVersion", local="dataset_version")
    uploads = uploads_of("dataset_version", OwnerKind.DATASET_VERSION)


@extend("Mutation")
class DatasetMutations:
    """What is done with data sets."""

    @mutation(permission=REGISTER, payload=RegisterDatasetPayload)
    async def register_dataset(call: Call, given: RegisterDatasetInput) -> Mapping[str, Any]:
        """Register a data set with its legal record and its stewards."""
        dataset_id = await register_dataset(
            call.session,
            call.actor,
            team=given.team,
            name=given.name,
            description=given.description,
            visibility=given.visibility,
            classification=given.classification,
            legal=given.legal.as_record(),
            stewards=given.stewards,
            at=call.at,
            new_id=call.new_id,
        )
        return {"dataset": dataset_id}

    @mutation(permission=STEWARD, payload=UpdateLegalRecordPayload)
    async def update_legal_record(call: Call, given: UpdateLegalRecordInput) -> Mapping[str, Any]:
        """Replace the legal record of a data set; for its stewards."""
        dataset_id = decode_id(given.dataset_id, "Dataset", field="datasetId")
        await update_legal_record(
            call.session,
            call.actor,
            dataset_id=dataset_id,
            classification=given.classification,
            legal=given.legal.as_record(),
            at=call.at,
            new_id=call.new_id,
        )
        return {"dataset": dataset_id}

    @mutation(permission=ADD_VERSION, payload=CreateDatasetVersionPayload)
    async def create_dataset_version(call: Call, given: CreateDatasetVersionInput) -> Mapping[str, Any]:
        """Announce the next version of a data set with its files; it is ready once they are uploaded and completed."""
        version_id = await create_dataset_version(
            call.session,
            call.actor,
            dataset_id=decode_id(given.dataset_id, "Dataset", field="datasetId"),
            files=[file.as_spec() for file in given.files],
            columns=[
                ColumnSpec(name=each.name, type=each.type, unit=each.unit, personal=each.personal)
                for each in given.columns or ()
            ],
            rows=given.rows,
            at=call.at,
            new_id=call.new_id,
        )
        return {"dataset_version": version_id}


TYPES = [
    LegalRecordType,
    DatasetColumnType,
    DatasetType,
    DatasetVersionType,
    DatasetQueries,
    RegisterDatasetPayload,
    UpdateLegalRecordPayload,
    CreateDatasetVersionPayload,
    DatasetMutations,
]
