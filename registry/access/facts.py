"""What a decision about access rests on: a fixed number of statements, however many resources are asked about."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, false, or_, select

from guildhall.auth.resources import ResourceRef
from guildhall.db.among import among
from guildhall.db.transaction import ReadSession
from registry.access.sources import SourceRow, restricting_sources
from registry.access.tables import AccessGrant, AccessGrantResource
from registry.datasets.stewards import steward_emails
from registry.datasets.tables import Dataset, DatasetVersion, DatasetVersionState
from registry.minimisation.filters import DataFilter, data_filter
from registry.models.tables import Model, ModelVersion


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One access grant of the reader or of a team of theirs, live or not."""

    id: UUID
    team_id: UUID | None
    resource_ids: frozenset[UUID]
    purpose: str | None
    justification: str
    limits: DataFilter | None
    valid_from: datetime
    valid_to: datetime
    withdrawn_at: datetime | None

    @property
    def ends_at(self) -> datetime:
        """When it ended or will end: a withdrawal comes before the end that was granted."""
        return self.valid_to if self.withdrawn_at is None else min(self.valid_to, self.withdrawn_at)

    def is_live(self, at: datetime) -> bool:
        """Whether it counts at that moment. Withdrawn is withdrawn, also where the clock that said when is ahead."""
        return self.withdrawn_at is None and self.valid_from <= at < self.valid_to

    def opens(self, keys: frozenset[UUID]) -> bool:
        """Whether it is for one of these; where `limits` are set, for no more of it than those let through."""
        return bool(self.resource_ids & keys)

    def covers(self, columns: frozenset[str]) -> bool:
        """Whether the limits, if any, leave all of a version with these columns. Of unknown columns they leave less."""
        limits = self.limits
        if limits is None:
            return True
        return limits.sample is None and bool(columns) and limits.columns is not None and columns <= limits.columns

    def covers_readings(self, readings: Collection[DataFilter | None]) -> bool:
        """Whether all that may have been read under these limits is open to it; where nobody knows them, it is not."""
        limits = self.limits
        return bool(readings) and all(
            limits is None or (reading is not None and reading.within(limits)) for reading in readings
        )

    @property
    def generosity(self) -> tuple[bool, bool, int, bool, int]:
        """Orders grants by how much they let through: everything, then all columns, then more columns, then rows."""
        limits = self.limits
        if limits is None:
            return (True, True, 0, True, 0)
        rows = limits.sample
        size = 0 if rows is None else rows.first_rows or rows.millionths or 0
        return (False, limits.columns is None, len(limits.columns or ()), rows is None, size)


@dataclass(frozen=True, kw_only=True)
class GuardedSource:
    """One version of a data set that a model version was made from and that restricts it.

    `readings` are the limits under which it may have been read for that; None: all of it may have been.
    """

    dataset_id: UUID
    version_id: UUID
    columns: frozenset[str]
    readings: tuple[DataFilter | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """One resource as the rule sees it. `permitted_purposes` None: no limits."""

    resource: ResourceRef
    team_id: UUID
    visibility: str
    classification: str
    permitted_purposes: frozenset[str] | None
    retention_ends_on: date | None
    ready: bool
    own_keys: frozenset[UUID]
    dataset_id: UUID | None = None
    sources: tuple[GuardedSource, ...] = ()
    stewards: tuple[str, ...] = ()

    @property
    def deciding_datasets(self) -> frozenset[UUID]:
        """The data sets whose stewards decide about this: its own, or those that a model version was made from."""
        sources = frozenset(source.dataset_id for source in self.sources)
        return sources if self.dataset_id is None else sources | {self.dataset_id}

    @property
    def grant_keys(self) -> frozenset[UUID]:
        """Everything of which a grant could open this."""
        return self.own_keys.union(*({source.dataset_id, source.version_id} for source in self.sources))


async def load_guarded(session: ReadSession, resources: Iterable[ResourceRef]) -> dict[ResourceRef, Guarded]:
    """The facts of each resource that exists; kinds that nobody asked about cost no statement."""
    wanted: dict[str, list[UUID]] = {}
    for resource in resources:
        wanted.setdefault(resource.type, []).append(resource.id)
    found: dict[ResourceRef, Guarded] = {}
    for kind, load in (
        ("Dataset", _datasets),
        ("DatasetVersion", _dataset_versions),
        ("ModelVersion", _model_versions),
    ):
        if kind in wanted:
            found.update({facts.resource: facts for facts in await load(session, wanted.pop(kind))})
    assert not wanted, f"access is not decided about {sorted(wanted)}"
    return found


async def load_grants(
    session: ReadSession, *, actor_user_id: UUID | None, team_ids: Collection[UUID], resource_ids: Collection[UUID]
) -> list[Grant]:
    """All grants of these beneficiaries that name one of these resources."""
    if not resource_ids:
        return []
    beneficiaries: list[ColumnElement[bool]] = (
        [AccessGrant.beneficiary_team_id.in_(sorted(team_ids))] if team_ids else []
    )
    if actor_user_id is not None:
        beneficiaries.append(AccessGrant.beneficiary_user_id == actor_user_id)
    statement = (
        select(AccessGrant, AccessGrantResource.resource_id)
        .join(AccessGrantResource, AccessGrantResource.grant_id == AccessGrant.id)
        .where(or_(false(), *beneficiaries), among(AccessGrantResource.resource_id, sorted(resource_ids)))
    )
    rows: dict[UUID, AccessGrant] = {}
    named: dict[UUID, set[UUID]] = {}
    for grant, resource_id in await session.execute(statement):
        rows[grant.id] = grant
        named.setdefault(grant.id, set()).add(resource_id)
    return [
        Grant(
            id=grant.id,
            team_id=grant.beneficiary_team_id,
            resource_ids=frozenset(named[grant.id]),
            purpose=grant.purpose,
            justification=grant.justification,
            limits=data_filter(grant.columns, grant.first_rows, grant.sample_millionths),
            valid_from=grant.valid_from,
            valid_to=grant.valid_to,
            withdrawn_at=grant.withdrawn_at,
        )
        for grant in rows.values()
    ]


async def _datasets(session: ReadSession, ids: Sequence[UUID]) -> list[Guarded]:
    rows = (await session.scalars(select(Dataset).where(Dataset.id.in_(ids)))).all()
    stewards = await steward_emails(session, [row.id for row in rows])
    return [_of_dataset(ResourceRef("Dataset", row.id), row, stewards) for row in rows]


async def _dataset_versions(session: ReadSession, ids: Sequence[UUID]) -> list[Guarded]:
    statement = (
        select(DatasetVersion, Dataset)
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .where(DatasetVersion.id.in_(ids))
    )
    rows = (await session.execute(statement)).all()
    stewards = await steward_emails(session, [dataset.id for _, dataset in rows])
    return [
        _of_dataset(ResourceRef("DatasetVersion", version.id), dataset, stewards, version=version)
        for version, dataset in rows
    ]


async def _model_versions(session: ReadSession, ids: Sequence[UUID]) -> list[Guarded]:
    statement = (
        select(ModelVersion, Model.team_id, Model.visibility)
        .join(Model, Model.id == ModelVersion.model_id)
        .where(ModelVersion.id.in_(ids))
    )
    rows = (await session.execute(statement)).all()
    sources = await restricting_sources(session, ids)
    stewards = await steward_emails(session, [source.dataset_id for found in sources.values() for source in found])
    guarded = []
    for version, team_id, visibility in rows:
        own = sources.get(version.id, [])
        emails = {email for source in own for email in stewards.get(source.dataset_id, [])}
        purposes = version.effective_permitted_purposes
        guarded.append(
            Guarded(
                resource=ResourceRef("ModelVersion", version.id),
                team_id=team_id,
                visibility=visibility,
                classification=version.effective_classification,
                permitted_purposes=None if purposes is None else frozenset(purposes),
                retention_ends_on=version.effective_retention_ends_on,
                ready=version.ready_at is not None,
                own_keys=frozenset({version.id}),
                sources=tuple(_source(source) for source in own),
                stewards=tuple(sorted(emails)),
            )
        )
    return guarded


def _of_dataset(
    resource: ResourceRef,
    dataset: Dataset,
    stewards: Mapping[UUID, Sequence[str]],
    *,
    version: DatasetVersion | None = None,
) -> Guarded:
    return Guarded(
        resource=resource,
        team_id=dataset.team_id,
        visibility=dataset.visibility,
        classification=dataset.classification,
        permitted_purposes=frozenset(dataset.permitted_purposes),
        retention_ends_on=dataset.retention_ends_on,
        ready=version is None or version.state == DatasetVersionState.READY,
        own_keys=frozenset({dataset.id} if version is None else {dataset.id, version.id}),
        dataset_id=dataset.id,
        stewards=tuple(stewards.get(dataset.id, ())),
    )


def _source(row: SourceRow) -> GuardedSource:
    readings = tuple(
        data_filter(columns, first_rows, millionths) if known else None
        for columns, first_rows, millionths, known in row.readings
    )
    return GuardedSource(
        dataset_id=row.dataset_id, version_id=row.version_id, columns=column_names(row.columns), readings=readings
    )


def column_names(columns: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The names of the columns of a data set's version."""
    return frozenset(str(column["name"]) for column in columns)
