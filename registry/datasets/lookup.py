"""Finding data sets and their versions: what is outside a caller's sight is not there."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import aliased

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import visible_rows
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.db.transaction import ReadSession
from guildhall.errors import NotFound
from registry.datasets.tables import Dataset, DatasetSteward, DatasetVersion

DISCOVER = "registry:dataset:discover"


@dataclass(frozen=True)
class FoundDatasetVersion:
    """A version that the caller may see, with its data set."""

    row: DatasetVersion
    dataset: Dataset


def visible_datasets(actor: Actor) -> ColumnElement[bool]:
    """Which rows of `datasets` exist for the actor: what their teams and the organisation see, what they steward."""
    rows = visible_rows(actor, visibility_column=Dataset.visibility, team_column=Dataset.team_id, permission=DISCOVER)
    if actor.kind is not ActorKind.USER or not actor.shows_token_for(DISCOVER):
        return rows
    steward = aliased(DatasetSteward)  # an alias: a statement that reads stewards itself would be correlated with it
    stewarded = exists().where(steward.dataset_id == Dataset.id, steward.user_id == actor.id)
    return or_(rows, stewarded)


def visible_dataset_versions(actor: Actor) -> ColumnElement[bool]:
    """Which rows of `dataset_versions` exist for the actor: those of the data sets that do."""
    return exists().where(Dataset.id == DatasetVersion.dataset_id, visible_datasets(actor))


async def find_dataset(session: ReadSession, actor: Actor, dataset_id: UUID, *, field: str) -> Dataset:
    """The data set, or NotFound about the input's field."""
    row = await session.scalar(select(Dataset).where(Dataset.id == dataset_id, visible_datasets(actor)))
    if row is None:
        raise NotFound("There is no such data set.", field=field)
    return row


async def find_dataset_version(
    session: ReadSession, actor: Actor, version_id: UUID, *, field: str
) -> FoundDatasetVersion:
    """The version with its data set, or NotFound about the input's field."""
    statement = (
        select(DatasetVersion, Dataset)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .where(DatasetVersion.id == version_id, visible_datasets(actor))
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFound("There is no such version of a data set.", field=field)
    return FoundDatasetVersion(*row)


def dataset_refs(dataset_id: UUID, version_id: UUID | None = None) -> tuple[ResourceRef, ...]:
    """How audit names a data set, or a version together with its data set."""
    whole = ResourceRef("Dataset", dataset_id)
    return (whole,) if version_id is None else (ResourceRef("DatasetVersion", version_id), whole)
