"""The restrictions that a model version inherits from every data set that it was made from, over any depth.

They are columns, so that no read walks the graph, and are computed again in the transaction that changes lineage or
the legal record of a source:

- classification: the most closed one (PUBLIC where no data set is known);
- permitted purposes and regions: what all data sets have in common (NULL: none is known, `{}`: nothing is left);
- retention: the earliest end.

A steward's recorded decision may loosen what comes through one version (`registry.lineage.contributions`).

Two transactions cannot miss each other: whoever joins a version to its sources first takes a shared lock on every data
set upstream, and whoever changes a legal record, or decides about a loosening, holds the data sets' rows before the
versions downstream are read.
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ARRAY, TextClause, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from registry.lineage.contributions import CLASSIFICATIONS, contributions
from registry.lineage.reaching import downstream, upstream

_IDS = ARRAY(Uuid(as_uuid=True))


def _sources(locked: str) -> TextClause:
    return text(f"""
        WITH RECURSIVE {upstream("SELECT unnest(:version_ids)")}
        SELECT datasets.id FROM datasets
        WHERE datasets.id IN (
            SELECT dataset_id FROM dataset_versions WHERE dataset_versions.id IN (SELECT upstream.id FROM upstream)
        )
        ORDER BY datasets.id {locked}
    """).bindparams(bindparam("version_ids", type_=_IDS))  # noqa: S608 -- constants of this module


_LOCK_SOURCES = _sources("FOR SHARE")
_HOLD_SOURCES = _sources("FOR NO KEY UPDATE")

_CHANGED = """SELECT unnest(:version_ids)
        UNION
        SELECT dataset_versions.id FROM dataset_versions WHERE dataset_id = ANY (:dataset_ids)"""
_LOCK_AFFECTED = text(f"""
    WITH RECURSIVE {downstream(_CHANGED)}
    SELECT model_versions.id FROM model_versions WHERE model_versions.id IN (SELECT downstream.id FROM downstream)
    ORDER BY model_versions.id FOR NO KEY UPDATE
""").bindparams(bindparam("version_ids", type_=_IDS), bindparam("dataset_ids", type_=_IDS))  # noqa: S608 -- as above

_RECOMPUTE = text(f"""
    WITH RECURSIVE {contributions("unnest(:version_ids) AS root (version_id)")},
    legal AS (
        SELECT version_id, count(*) AS sources, max(closed) AS closed,
            min(retention_ends_on) AS retention_ends_on
        FROM contribution GROUP BY version_id
    ),
    purpose AS (
        SELECT shared.version_id, array_agg(shared.name ORDER BY shared.name) AS names
        FROM (
            SELECT contribution.version_id, permitted.name
            FROM contribution CROSS JOIN unnest(contribution.permitted_purposes) AS permitted (name)
            GROUP BY contribution.version_id, permitted.name
            HAVING count(DISTINCT contribution.number)
                = (SELECT legal.sources FROM legal WHERE legal.version_id = contribution.version_id)
        ) AS shared GROUP BY shared.version_id
    ),
    region AS (
        SELECT shared.version_id, array_agg(shared.name ORDER BY shared.name) AS names
        FROM (
            SELECT contribution.version_id, allowed.name
            FROM contribution CROSS JOIN unnest(contribution.regions) AS allowed (name)
            GROUP BY contribution.version_id, allowed.name
            HAVING count(DISTINCT contribution.number)
                = (SELECT legal.sources FROM legal WHERE legal.version_id = contribution.version_id)
        ) AS shared GROUP BY shared.version_id
    ),
    effective AS (
        SELECT affected.id,
            coalesce(({CLASSIFICATIONS})[legal.closed], 'PUBLIC') AS classification,
            CASE WHEN legal.sources > 0 THEN coalesce(purpose.names, '{{}}') END AS permitted_purposes,
            CASE WHEN legal.sources > 0 THEN coalesce(region.names, '{{}}') END AS regions,
            legal.retention_ends_on
        FROM unnest(:version_ids) AS affected (id)
            LEFT JOIN legal ON legal.version_id = affected.id
            LEFT JOIN purpose ON purpose.version_id = affected.id
            LEFT JOIN region ON region.version_id = affected.id
    )
    UPDATE model_versions SET
        effective_classification = effective.classification,
        effective_permitted_purposes = effective.permitted_purposes,
        effective_regions = effective.regions,
        effective_retention_ends_on = effective.retention_ends_on
    FROM effective
    WHERE effective.id = model_versions.id AND (
        (effective_classification, effective_permitted_purposes, effective_regions, effective_retention_ends_on)
        IS DISTINCT FROM
        (effective.classification, effective.permitted_purposes, effective.regions, effective.retention_ends_on)
    )
    RETURNING model_versions.id
""").bindparams(bindparam("version_ids", type_=_IDS))  # noqa: S608 -- as above


async def lock_sources(session: AsyncSession, version_ids: Iterable[UUID]) -> None:
    """Hold the legal records upstream of these versions (model or data set) as they are until the transaction ends.

    To be called before an edge to one of them is written.
    """
    wanted = sorted(set(version_ids))
    if wanted:
        await session.execute(_LOCK_SOURCES, {"version_ids": wanted})


async def hold_sources(session: AsyncSession, version_id: UUID) -> None:
    """As `lock_sources`, and keep everybody else from joining anything to them: before a loosening changes.

    What is being joined to the version meanwhile would otherwise inherit by the rows of before.
    """
    await session.execute(_HOLD_SOURCES, {"version_ids": [version_id]})


async def recompute_effective(
    session: AsyncSession, *, dataset_ids: Iterable[UUID] = (), model_version_ids: Iterable[UUID] = ()
) -> list[UUID]:
    """Compute the inherited restrictions of these versions, and of all downstream of them or of these data sets, again.

    Call it in the transaction that changed the legal records (whose rows it must hold) or wrote the edges. Returns the
    versions whose restrictions changed, in order.
    """
    arguments = {"version_ids": sorted(set(model_version_ids)), "dataset_ids": sorted(set(dataset_ids))}
    affected = list((await session.scalars(_LOCK_AFFECTED, arguments)).all())
    if not affected:
        return []
    return sorted((await session.scalars(_RECOMPUTE, {"version_ids": affected})).all())
