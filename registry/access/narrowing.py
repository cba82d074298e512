"""Approving less than was asked for: less time, fewer resources, only some columns, only a sample of the rows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select

from guildhall.auth.resources import ResourceRef
from guildhall.db.transaction import ReadSession
from guildhall.errors import Invalid
from registry.access.requests import require_duration
from registry.datasets.tables import DatasetVersion
from registry.minimisation.filters import MILLIONTHS, RowSample

FIRST_ROWS_MAX = 2**53


class InvalidNarrowing(Invalid):
    """A narrowing that is wider than what was asked for, or than what others approved before."""

    code = "INVALID_NARROWING"


class NothingLeft(Invalid):
    """An approval that would open nothing."""

    code = "NOTHING_TO_APPROVE"


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """What somebody says of a sample: the first rows of each file, or a fraction between 0 and 1. One of the two."""

    first_rows: int | None = None
    fraction: float | None = None


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """What of a request is approved: less time, only some of its resources (or versions of them), columns or rows."""

    duration_seconds: int | None = None
    resources: Sequence[ResourceRef] | None = None
    columns: Sequence[str] | None = None
    sample: SampleSpec | None = None


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What is approved, as far as it has come; each further approval may only make it smaller."""

    resources: tuple[ResourceRef, ...]
    duration_seconds: int
    columns: tuple[str, ...] | None = None
    sample: RowSample | None = None


async def narrow_extent(session: ReadSession, extent: Extent, narrowing: Narrowing | None) -> Extent:
    """The smaller extent. Raises InvalidNarrowing where it would be larger in some respect, NothingLeft."""
    if narrowing is None:
        return extent
    narrowed = replace(
        extent,
        duration_seconds=_seconds(extent, narrowing.duration_seconds),
        resources=await _resources(session, extent.resources, narrowing.resources),
    )
    return replace(
        narrowed,
        columns=await _columns(session, narrowed, narrowing.columns),
        sample=_sample(narrowed, narrowing.sample),
    )


def _seconds(extent: Extent, seconds: int | None) -> int:
    if seconds is None:
        return extent.duration_seconds
    require_duration(seconds, field="narrow.durationSeconds")
    if seconds > extent.duration_seconds:
        raise InvalidNarrowing(
            f"Only {extent.duration_seconds} seconds were asked for.", field="narrow.durationSeconds"
        )
    return seconds


async def _resources(
    session: ReadSession, named: Sequence[ResourceRef], narrowed: Sequence[ResourceRef] | None
) -> tuple[ResourceRef, ...]:
    """Those asked for, or fewer, or versions of a data set that was asked for as a whole."""
    if narrowed is None:
        return tuple(named)
    chosen = tuple(dict.fromkeys(narrowed))
    wholes = [resource.id for resource in named if resource.type == "Dataset"]
    others = [resource.id for resource in chosen if resource.type == "DatasetVersion"]
    statement = select(DatasetVersion.id).where(DatasetVersion.id.in_(others), DatasetVersion.dataset_id.in_(wholes))
    versions = set((await session.scalars(statement)).all())
    for number, resource in enumerate(chosen):
        if resource not in named and resource.id not in versions:
            raise InvalidNarrowing("This was not asked for.", field=f"narrow.resourceIds[{number}]")
    if not chosen:
        raise NothingLeft(
            "An approval opens at least one resource. Refuse the request instead.", field="narrow.resourceIds"
        )
    return chosen


async def _columns(session: ReadSession, extent: Extent, columns: Sequence[str] | None) -> tuple[str, ...] | None:
    """All of them must be in the data; a model's bytes cannot be told apart by column."""
    if columns is None:
        return extent.columns
    _require_no_model(extent.resources, "columns")
    known = await _known_columns(session, extent.resources) if extent.columns is None else set(extent.columns)
    for number, name in enumerate(columns):
        if name not in known:
            raise InvalidNarrowing(f"There is no column {name!r} in this data.", field=f"narrow.columns[{number}]")
    if not columns:
        raise NothingLeft("An approval opens at least one column. Refuse the request instead.", field="narrow.columns")
    return tuple(sorted(set(columns)))


async def _known_columns(session: ReadSession, resources: Collection[ResourceRef]) -> set[str]:
    ids = [resource.id for resource in resources]
    statement = select(DatasetVersion.columns).where(DatasetVersion.id.in_(ids) | DatasetVersion.dataset_id.in_(ids))
    return {column["name"] for version in await session.scalars(statement) for column in version}


def _sample(extent: Extent, spec: SampleSpec | None) -> RowSample | None:
    if spec is None:
        return extent.sample
    _require_no_model(extent.resources, "sample")
    if (spec.first_rows is None) == (spec.fraction is None):
        raise InvalidNarrowing("A sample is either the first rows or a fraction.", field="narrow.sample")
    if spec.first_rows is not None:
        if not 1 <= spec.first_rows <= FIRST_ROWS_MAX:
            raise InvalidNarrowing("A sample has at least one row.", field="narrow.sample.firstRows")
        sample = RowSample(first_rows=spec.first_rows)
    else:
        millionths = round((spec.fraction or 0) * MILLIONTHS) if 0 < (spec.fraction or 0) < 1 else 0
        if not 1 <= millionths < MILLIONTHS:
            message = "A fraction lies between 0 and 1, such as 0.01, to the millionth."
            raise InvalidNarrowing(message, field="narrow.sample.fraction")
        sample = RowSample(millionths=millionths)
    if extent.sample is not None and not sample.within(extent.sample):
        raise InvalidNarrowing(
            "Another steward approved a smaller sample, or one of the other kind.", field="narrow.sample"
        )
    return sample


def _require_no_model(resources: Collection[ResourceRef], field: str) -> None:
    if any(resource.type == "ModelVersion" for resource in resources):
        message = "A model version cannot be narrowed to columns or rows."
        raise InvalidNarrowing(message, field=f"narrow.{field}")
