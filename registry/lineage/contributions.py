"""What each source brings to a model version along each path of its lineage, with what stewards have loosened there.

A decision (`registry.loosening`) counts for everything that came through the version that it is about, and only for
the sources that its stewards saw, while those are in no respect stricter than they were seen. Of a source that is
reached past that version as well, the unloosened path stays: whoever combines contributions takes the strictest.
So the inherited columns are a function of rows, whatever the order of events.
"""

INHERITING = "('TRAINED_ON', 'FINE_TUNED_FROM', 'DERIVED_FROM')"
CLASSIFICATIONS = "ARRAY['PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED']"
CLOSED_FROM = 3
"""The place of CONFIDENTIAL in that list."""


def _loosened_at(version: str) -> str:
    """SQL: the decisions in force about this version."""
    return (
        "ARRAY(SELECT loosenings.id FROM loosenings "  # noqa: S608 -- columns of this module
        f"WHERE loosenings.model_version_id = {version} AND loosenings.state = 'APPROVED' ORDER BY loosenings.id)"
    )


def contributions(roots: str) -> str:
    """SQL: two common table expressions, `reached` and `contribution`, for `WITH RECURSIVE`.

    `roots` is a FROM item `root (version_id)`. A contribution has the number of its row, `version_id`,
    `dataset_version_id`, `dataset_id`, and as loosened `closed` (the place in CLASSIFICATIONS), `permitted_purposes`,
    `regions` and `retention_ends_on`.
    """
    return f"""
    reached (version_id, id, under) AS (
        SELECT root.version_id, root.version_id, {_loosened_at("root.version_id")} FROM {roots}
        UNION
        SELECT reached.version_id, edge.to_id, reached.under || {_loosened_at("edge.to_id")}
        FROM lineage_edges AS edge JOIN reached ON edge.from_id = reached.id
        WHERE edge.kind IN {INHERITING}
    ),
    contribution AS (
        SELECT row_number() OVER () AS number, reached.version_id,
            dataset_versions.id AS dataset_version_id, datasets.id AS dataset_id,
            least(array_position({CLASSIFICATIONS}, datasets.classification::text), loosened.closed) AS closed,
            datasets.permitted_purposes::text[] || loosened.permitted_purposes AS permitted_purposes,
            datasets.regions::text[] || loosened.regions AS regions,
            CASE WHEN loosened.endless IS NOT TRUE AND datasets.retention_ends_on IS NOT NULL
                THEN greatest(datasets.retention_ends_on, loosened.retention_ends_on) END AS retention_ends_on
        FROM reached
            JOIN dataset_versions ON dataset_versions.id = reached.id
            JOIN datasets ON datasets.id = dataset_versions.dataset_id
            CROSS JOIN LATERAL (
                SELECT min(array_position({CLASSIFICATIONS}, loosenings.classification::text)) AS closed,
                    array_agg(purpose.name::text) FILTER (WHERE purpose.name IS NOT NULL) AS permitted_purposes,
                    array_agg(region.name::text) FILTER (WHERE region.name IS NOT NULL) AS regions,
                    bool_or(loosenings.property = 'RETENTION' AND loosenings.retention_ends_on IS NULL) AS endless,
                    max(loosenings.retention_ends_on) AS retention_ends_on
                FROM loosenings
                    JOIN loosening_sources AS seen
                        ON seen.loosening_id = loosenings.id AND seen.dataset_version_id = dataset_versions.id
                    LEFT JOIN LATERAL unnest(loosenings.permitted_purposes) AS purpose (name) ON true
                    LEFT JOIN LATERAL unnest(loosenings.regions) AS region (name) ON true
                WHERE loosenings.id = ANY (reached.under) AND is_no_stricter(
                    datasets.classification, datasets.permitted_purposes, datasets.regions, datasets.retention_ends_on,
                    seen.classification, seen.permitted_purposes, seen.regions, seen.retention_ends_on
                )
            ) AS loosened
    )"""  # noqa: S608 -- as above
