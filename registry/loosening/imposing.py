"""Which sources stand in the way of what is wanted for a model version, and how many stewards of each must agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Row, Uuid, bindparam, func, select, text

from guildhall.db.transaction import ReadSession
from registry.datasets.tables import Classification, Dataset
from registry.lineage.contributions import contributions
from registry.lineage.reaching import downstream, upstream
from registry.loosening.tables import LooseningSource, RestrictedProperty

_ORDER = tuple(Classification)

_CONTRIBUTIONS = text(f"""
    WITH RECURSIVE {contributions("unnest(:version_ids) AS root (version_id)")}
    SELECT contribution.dataset_version_id, contribution.closed, contribution.permitted_purposes, contribution.regions,
        contribution.retention_ends_on, datasets.id AS dataset_id, datasets.classification AS own_classification,
        datasets.permitted_purposes AS own_purposes, datasets.regions AS own_regions,
        datasets.retention_ends_on AS own_retention
    FROM contribution JOIN datasets ON datasets.id = contribution.dataset_id
    ORDER BY datasets.id, contribution.dataset_version_id
""").bindparams(bindparam("version_ids", type_=ARRAY(Uuid(as_uuid=True))))  # noqa: S608 -- constants of this module


_THIS = "SELECT CAST(:version_id AS uuid)"
_LOOSENED_AROUND = text(f"""
    WITH RECURSIVE {upstream(_THIS)}, {downstream(_THIS)}
    SELECT count(DISTINCT loosenings.model_version_id) FROM loosenings
    WHERE loosenings.state IN ('PENDING', 'APPROVED') AND loosenings.model_version_id <> :version_id
        AND loosenings.model_version_id IN (SELECT id FROM upstream UNION SELECT id FROM downstream)
""").bindparams(bindparam("version_id", type_=Uuid(as_uuid=True)))  # noqa: S608 -- constants of this module


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One property and what it is to be; of purposes and regions, which are to be allowed as well.

    A retention without a day has no end.
    """

    property: RestrictedProperty
    classification: Classification | None = None
    permitted_purposes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    retention_ends_on: date | None = None


@dataclass(frozen=True, kw_only=True)
class Imposing:
    """A version of a data set that stands in the way, with the legal record of its data set as it is."""

    dataset_version_id: UUID
    dataset_id: UUID
    classification: str
    permitted_purposes: list[str]
    regions: list[str]
    retention_ends_on: date | None

    @property
    def stewards_needed(self) -> int:
        """Two for RESTRICTED data, as for access to it."""
        return 2 if self.classification == Classification.RESTRICTED else 1


async def imposing_sources(session: ReadSession, model_version_id: UUID, wanted: Wanted) -> list[Imposing]:
    """The sources without which the version would be as wanted, each once, in order."""
    rows = (await session.execute(_CONTRIBUTIONS, {"version_ids": [model_version_id]})).all()
    found = {
        row.dataset_version_id: Imposing(
            dataset_version_id=row.dataset_version_id,
            dataset_id=row.dataset_id,
            classification=row.own_classification,
            permitted_purposes=row.own_purposes,
            regions=row.own_regions,
            retention_ends_on=row.own_retention,
        )
        for row in rows
        if _stands_in_the_way(row, wanted)
    }
    return list(found.values())


async def loosened_around(session: ReadSession, model_version_id: UUID) -> int:
    """How many other versions up- and downstream are loosened, or may be: each can double the ways through lineage."""
    return int((await session.execute(_LOOSENED_AROUND, {"version_id": model_version_id})).scalar_one())


async def stricter_than_seen(session: ReadSession, loosening_id: UUID) -> Sequence[UUID]:
    """The data sets that have become stricter in some respect than the stewards see in the request."""
    seen = LooseningSource
    statement = (
        select(Dataset.id)
        .join(seen, seen.dataset_id == Dataset.id)
        .where(seen.loosening_id == loosening_id, ~covered())
        .distinct()
        .order_by(Dataset.id)
    )
    return (await session.scalars(statement)).all()


def covered() -> Any:  # noqa: ANN401 -- a function's call, for statements over `datasets` and `loosening_sources`
    """SQL: whether the data set is in no respect stricter than it was seen."""
    seen = LooseningSource
    return func.is_no_stricter(
        Dataset.classification, Dataset.permitted_purposes, Dataset.regions, Dataset.retention_ends_on,
        seen.classification, seen.permitted_purposes, seen.regions, seen.retention_ends_on,
        type_=Boolean,
    )  # fmt: skip


def _stands_in_the_way(row: Row[Any], wanted: Wanted) -> bool:
    match wanted.property:
        case RestrictedProperty.CLASSIFICATION:
            assert wanted.classification is not None, "the input is whole"
            return bool(row.closed - 1 > _ORDER.index(wanted.classification))
        case RestrictedProperty.PERMITTED_PURPOSES:
            return not set(wanted.permitted_purposes) <= set(row.permitted_purposes)
        case RestrictedProperty.REGIONS:
            return not set(wanted.regions) <= set(row.regions)
        case RestrictedProperty.RETENTION:
            until, end = row.retention_ends_on, wanted.retention_ends_on
            return until is not None and (end is None or until < end)
