"""The restrictions that a model version inherits from every data set that it was made from, over any depth.

They are columns, so that no read walks the graph, and are computed again in the transaction that changes lineage or
the legal record of a source:

- classification: the most closed one (PUBLIC where no data set is known);
- permitted purposes and regions: what all data sets have in common (NULL: none is known, `{}`: nothing is left);
- retention: the earliest end.

Two transactions cannot miss each other: whoever joins a version to its sources first takes a shared lock on every data
set upstream, and whoever changes a legal record holds that data set's row before the versions downstream are read.
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

_INHERITING = "('TRAINED_ON', 'FINE_TUNED_FROM', 'DERIVED_FROM')"
_CLASSIFICATIONS = "ARRAY['PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED']"
_IDS = ARRAY(Uuid(as_uuid=True))

_LOCK_SOURCES = text(f"""
    WITH RECURSIVE upstream (id) AS (
        SELECT unnest(:version_ids)
        UNION
        SELECT edge.to_id FROM lineage_edges AS edge JOIN upstream ON edge.from_id = upstream.id
        WHERE edge.kind IN {_INHERITING}
    )
    SELECT datasets.id FROM datasets
    WHERE datasets.id IN (
        SELECT dataset_id FROM dataset_versions WHERE dataset_versions.id IN (SELECT upstream.id FROM upstream)
    )
    ORDER BY datasets.id FOR SHARE
""").bindparams(bindparam("version_ids", type_=_IDS))  # noqa: S608 -- a constant of this module

_LOCK_AFFECTED = text(f"""
    WITH RECURSIVE affected (id) AS (
        SELECT unnest(:version_ids)
        UNION
        SELECT dataset_versions.id FROM dataset_versions WHERE dataset_id = ANY (:dataset_ids)
        UNION
        SELECT edge.from_id FROM lineage_edges AS edge JOIN affected ON edge.to_id = affected.id
        WHERE edge.kind IN {_INHERITING}
    )
    SELECT model_versions.id FROM model_versions WHERE model_versions.id IN (SELECT affected.id FROM affected)
    ORDER BY model_versions.id FOR NO KEY UPDATE
""").bindparams(bindparam("version_ids", type_=_IDS), bindparam("dataset_ids", type_=_IDS))  # noqa: S608 -- as above

_RECOMPUTE = text(f"""
    WITH RECURSIVE reached (version_id, id) AS (
        SELECT version_id, version_id FROM unnest(:version_ids) AS version_id
        UNION
        SELECT reached.version_id, edge.to_id FROM lineage_edges AS edge JOIN reached ON edge.from_id = reached.id
        WHERE edge.kind IN {_INHERITING}
    ),
    source AS (
        SELECT DISTINCT reached.version_id, dataset_versions.dataset_id
        FROM reached JOIN dataset_versions ON dataset_versions.id = reached.id
    ),
    legal AS (
        SELECT source.version_id,
            count(*) AS datasets,
            max(array_position({_CLASSIFICATIONS}, classification::text)) AS closed,
            min(retention_ends_on) AS retention_ends_on
        FROM source JOIN datasets ON datasets.id = source.dataset_id
        GROUP BY source.version_id
    ),
    purpose AS (
        SELECT shared.version_id, array_agg(shared.name ORDER BY shared.name) AS names
        FROM (
            SELECT source.version_id, permitted.name
            FROM source JOIN datasets ON datasets.id = source.dataset_id
                CROSS JOIN unnest(datasets.permitted_purposes) AS permitted (name)
            GROUP BY source.version_id, permitted.name
            HAVING count(DISTINCT source.dataset_id)
                = (SELECT legal.datasets FROM legal WHERE legal.version_id = source.version_id)
        ) AS shared GROUP BY shared.version_id
    ),
    region AS (
        SELECT shared.version_id, array_agg(shared.name ORDER BY shared.name) AS names
        FROM (
            SELECT source.version_id, allowed.name
            FROM source JOIN datasets ON datasets.id = source.dataset_id
                CROSS JOIN unnest(datasets.regions) AS allowed (name)
            GROUP BY source.version_id, allowed.name
            HAVING count(DISTINCT source.dataset_id)
                = (SELECT legal.datasets FROM legal WHERE legal.version_id = source.version_id)
        ) AS shared GROUP BY shared.version_id
    ),
    effective AS (
        SELECT affected.id,
            coalesce(({_CLASSIFICATIONS})[legal.closed], 'PUBLIC') AS classification,
            CASE WHEN legal.datasets > 0 THEN coalesce(purpose.names::text[], '{{}}') END AS permitted_purposes,
            CASE WHEN legal.datasets > 0 THEN coalesce(region.names::text[], '{{}}') END AS regions,
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
