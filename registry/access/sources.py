"""Which data sets a model version was made from, over lineage of any depth, as far as they restrict who may read it.

Only refusals, grants and requests about models whose effective classification is closed come here; whether a model is
open stands in its own columns.
"""

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text

from guildhall.db.transaction import ReadSession

_SOURCES = text("""
    WITH RECURSIVE reached (root, id) AS (
        SELECT model_versions.id, model_versions.id FROM model_versions
        WHERE model_versions.id = ANY (:ids) AND effective_classification IN ('CONFIDENTIAL', 'RESTRICTED')
        UNION
        SELECT reached.root, edge.to_id FROM lineage_edges AS edge JOIN reached ON edge.from_id = reached.id
        WHERE edge.kind IN ('TRAINED_ON', 'FINE_TUNED_FROM', 'DERIVED_FROM')
    )
    SELECT reached.root, datasets.id, dataset_versions.id, dataset_versions.columns, (
        SELECT json_agg(json_build_array(
            opened.columns, opened.first_rows, opened.sample_millionths, opened.id IS NOT NULL
        ))
        FROM lineage_edges AS edge
            JOIN reached AS maker ON maker.root = reached.root AND maker.id = edge.from_id
            LEFT JOIN LATERAL unnest(edge.access_grant_ids) AS under (id) ON true
            LEFT JOIN access_grants AS opened ON opened.id = under.id
        WHERE edge.to_id = reached.id AND edge.kind IN ('TRAINED_ON', 'DERIVED_FROM')
    ) AS readings
    FROM reached
        JOIN dataset_versions ON dataset_versions.id = reached.id
        JOIN datasets ON datasets.id = dataset_versions.dataset_id
    WHERE datasets.classification IN ('CONFIDENTIAL', 'RESTRICTED')
    ORDER BY reached.root, datasets.id, dataset_versions.id
""").bindparams(bindparam("ids", type_=ARRAY(Uuid(as_uuid=True))))


class SourceRow(NamedTuple):
    """One version of a closed data set that something was made from.

    `readings` are the limits `[columns, first rows, millionths, known]` of each grant that it may have been read under.
    """

    dataset_id: UUID
    version_id: UUID
    columns: list[dict[str, Any]]
    readings: list[list[Any]]


async def restricting_sources(session: ReadSession, model_version_ids: Collection[UUID]) -> dict[UUID, list[SourceRow]]:
    """For each model version the closed data sets' versions behind it; one statement."""
    found: dict[UUID, list[SourceRow]] = {}
    if model_version_ids:
        for root, *source in await session.execute(_SOURCES, {"ids": sorted(set(model_version_ids))}):
            found.setdefault(root, []).append(SourceRow(*source))
    return found
