"""Which data sets a model version was made from, over lineage of any depth, as far as they restrict who may read it.

Only refusals, grants and requests about models whose effective classification is closed come here; whether a model is
open stands in its own columns. A source that stewards have opened for what came through some version restricts no more.
"""

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text

from guildhall.db.transaction import ReadSession
from registry.lineage.contributions import CLOSED_FROM, contributions

_CLOSED_MODELS = """(
    SELECT model_versions.id FROM model_versions
    WHERE model_versions.id = ANY (:ids) AND effective_classification IN ('CONFIDENTIAL', 'RESTRICTED')
) AS root (version_id)"""
_SOURCES = text(f"""
    WITH RECURSIVE {contributions(_CLOSED_MODELS)},
    closed AS (
        SELECT version_id, dataset_id, dataset_version_id, max(closed) > {CLOSED_FROM} AS restricted
        FROM contribution WHERE closed >= {CLOSED_FROM} GROUP BY version_id, dataset_id, dataset_version_id
    )
    SELECT closed.version_id, closed.dataset_id, closed.dataset_version_id, closed.restricted,
        dataset_versions.columns, (
        SELECT json_agg(json_build_array(
            opened.columns, opened.first_rows, opened.sample_millionths, opened.id IS NOT NULL
        ))
        FROM lineage_edges AS edge
            LEFT JOIN LATERAL unnest(edge.access_grant_ids) AS under (id) ON true
            LEFT JOIN access_grants AS opened ON opened.id = under.id
        WHERE edge.to_id = closed.dataset_version_id AND edge.kind IN ('TRAINED_ON', 'DERIVED_FROM')
            AND edge.from_id IN (SELECT reached.id FROM reached WHERE reached.version_id = closed.version_id)
    ) AS readings
    FROM closed JOIN dataset_versions ON dataset_versions.id = closed.dataset_version_id
    ORDER BY closed.version_id, closed.dataset_id, closed.dataset_version_id
""").bindparams(bindparam("ids", type_=ARRAY(Uuid(as_uuid=True))))  # noqa: S608 -- constants of this module


class SourceRow(NamedTuple):
    """One version of a closed data set that something was made from.

    `readings` are the limits `[columns, first rows, millionths, known]` of each grant that it may have been read under.
    """

    dataset_id: UUID
    version_id: UUID
    restricted: bool
    columns: list[dict[str, Any]]
    readings: list[list[Any]]


async def restricting_sources(session: ReadSession, model_version_ids: Collection[UUID]) -> dict[UUID, list[SourceRow]]:
    """For each model version the closed data sets' versions behind it; one statement."""
    found: dict[UUID, list[SourceRow]] = {}
    if model_version_ids:
        for root, *source in await session.execute(_SOURCES, {"ids": sorted(set(model_version_ids))}):
            found.setdefault(root, []).append(SourceRow(*source))
    return found
