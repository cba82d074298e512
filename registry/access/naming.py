"""How requests and grants name what they are about, and finding it for a caller."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.db.transaction import ReadSession
from guildhall.errors import InvalidInput, Problem
from registry.access.tables import AccessGrantResource, ResourceKind
from registry.datasets.lookup import visible_dataset_versions, visible_datasets
from registry.datasets.tables import Dataset, DatasetVersion
from registry.models.lookup import visible_model_versions
from registry.models.tables import ModelVersion

KIND_OF = {
    "Dataset": ResourceKind.DATASET,
    "DatasetVersion": ResourceKind.DATASET_VERSION,
    "ModelVersion": ResourceKind.MODEL_VERSION,
}
"""How the tables name the types of resources."""
TYPE_OF = {kind.value: name for name, kind in KIND_OF.items()}


async def require_visible(session: ReadSession, actor: Actor, resources: Sequence[ResourceRef], *, field: str) -> None:
    """Raises InvalidInput that names each resource that is not there for the caller; a statement for each kind."""
    found: set[UUID] = set()
    for kind, (column, visible) in _rules(actor).items():
        ids = [resource.id for resource in resources if resource.type == kind]
        if ids:
            found.update((await session.scalars(select(column).where(column.in_(ids), visible))).all())
    problems = [
        Problem("NOT_FOUND", "There is no such data set, version of a data set or model version.", f"{field}[{number}]")
        for number, resource in enumerate(resources)
        if resource.id not in found
    ]
    if problems:
        raise InvalidInput(problems)


async def granted_resources(session: ReadSession, grant_id: UUID) -> list[ResourceRef]:
    """What the grant names, in order."""
    statement = select(AccessGrantResource.resource_kind, AccessGrantResource.resource_id).where(
        AccessGrantResource.grant_id == grant_id
    )
    return sorted(ResourceRef(TYPE_OF[kind], each) for kind, each in await session.execute(statement))


def _rules(actor: Actor) -> dict[str, tuple[InstrumentedAttribute[Any], ColumnElement[bool]]]:
    return {
        "Dataset": (Dataset.id, visible_datasets(actor)),
        "DatasetVersion": (DatasetVersion.id, visible_dataset_versions(actor)),
        "ModelVersion": (ModelVersion.id, visible_model_versions(actor)),
    }
