-- name: page
-- $1 first, $2 the viewer's teams, $3 and $4 the keys that the cursor's MAC is made with, $5 what the cursor is bound to.
-- Text is put together by hand: it costs three quarters of what json_build_object does.
SELECT '{"data":{"models":{"nodes":[' || coalesce(string_agg(CASE WHEN place <= $1::int THEN
    '{"id":"Model_' || replace(id::text, '-', '') || '","name":' || to_json(name)::text || ',"task":' || to_json(task)::text
    || ',"description":' || to_json(description)::text
    || ',"createdAt":"' || to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","team":'
    || (SELECT '{"name":' || to_json(teams.name)::text || '}' FROM teams WHERE teams.id = team_id) || ',"versions":{"nodes":['
    || coalesce((
        SELECT string_agg('{"id":"ModelVersion_' || replace(version.id::text, '-', '') || '","number":' || number
            || ',"status":"' || status || '","createdAt":"'
            || to_char(version.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}', ',')
        FROM (
            SELECT id, number, status, created_at FROM model_versions
            WHERE model_versions.model_id = page.id ORDER BY number DESC LIMIT 5
        ) AS version), '')
    || ']}}' END, ','), '') || '],"pageInfo":{"hasNextPage":' || (count(*) > $1::int)::text || ',"endCursor":'
    || coalesce('"' || string_agg(CASE WHEN place = least($1::int, total) THEN (
        SELECT translate(encode(
            substr(sha256($4::bytea || sha256($3::bytea || '\x00000020'::bytea || $5::bytea || body)), 1, 16) || body,
            'base64'), E'+/=\n', '-_')
        FROM (SELECT convert_to('[["t","' || to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
            || '+00:00"],["u","' || id || '"]]', 'UTF8') AS body) AS last) END, '') || '"', 'null') || '}}}}'
FROM (
    SELECT *, row_number() OVER () AS place, count(*) OVER () AS total FROM (
        SELECT id, name, task, description, created_at, team_id FROM models
        WHERE (visibility = 'ORGANISATION' OR team_id = ANY ($2::uuid[])) AND {after}
        ORDER BY created_at DESC, id DESC LIMIT $1::int + 1
    ) AS found
) AS page

-- name: model_page
-- $1 team, $2 name, $3 the viewer's teams, $4 where files are read, $5 the viewer. A walk goes from what was made to its
-- source, ends at what the viewer does not see (which has no type) and at the fourth step, and tells each link once.
WITH model AS MATERIALIZED (
    SELECT models.id, models.name, task, description, risk_tier FROM models JOIN teams ON teams.id = models.team_id
    WHERE teams.name = $1 AND models.name = $2 AND (visibility = 'ORGANISATION' OR team_id = ANY ($3::uuid[]))
), version AS MATERIALIZED (
    SELECT * FROM model_versions WHERE model_id = (SELECT id FROM model) ORDER BY number DESC LIMIT 10
)
SELECT concat('{"data":{"model":', coalesce((SELECT concat(
    '{"id":"Model_', replace(model.id::text, '-', ''), '","name":', to_json(model.name), ',"task":', to_json(task),
    ',"description":', to_json(description), ',"riskTier":"', risk_tier, '","dataNeeds":', coalesce((
        SELECT concat('{"features":[', (
            SELECT string_agg(concat('{"name":', feature -> 'name', ',"type":', feature -> 'type', ',"unit":', feature -> 'unit',
                ',"required":', feature -> 'required', '}'), ',') FROM jsonb_array_elements(features) AS feature),
            '],"labelDefinition":', coalesce(to_json(label_definition)::text, 'null'),
            ',"rowsMin":', coalesce('"' || rows_min || '"', 'null'), '}')
        FROM data_needs WHERE model_version_id = coalesce(
            (SELECT model_version_id FROM aliases WHERE aliases.model_id = model.id AND name = 'champion'),
            (SELECT id FROM model_versions AS latest WHERE latest.model_id = model.id AND status = 'PUBLISHED'
            ORDER BY number DESC LIMIT 1))), 'null'),
    ',"aliases":[', (
        SELECT string_agg(concat('{"name":', to_json(aliases.name), ',"version":{"number":', aliased.number, '},"protected":',
            CASE WHEN protected THEN 'true' ELSE 'false' END, '}'), ',' ORDER BY aliases.name)
        FROM aliases JOIN model_versions AS aliased ON aliased.id = model_version_id WHERE aliases.model_id = model.id),
    '],"versions":{"totalCount":', (SELECT count(*) FROM model_versions AS every WHERE every.model_id = model.id), ',"nodes":[', (
        SELECT string_agg(concat(
            '{"id":"ModelVersion_', replace(version.id::text, '-', ''), '","number":', number, ',"status":"', status,
            '","statusReason":', CASE WHEN status_code IS NULL THEN 'null' ELSE concat(
                '{"code":', to_json(status_code), ',"message":', to_json(status_message), '}') END,
            ',"card":', (
                SELECT concat('{"completeness":', 1 - count(missing.name)::float8 / count(*), ',"missing":',
                    coalesce(json_agg(missing.name ORDER BY place) FILTER (WHERE missing.name IS NOT NULL), '[]'::json),
                    ',"sections":[', (
                        SELECT string_agg(concat('{"name":', to_json(section.name), ',"body":', to_json(body), '}'),
                            ',' ORDER BY position, section.name)
                        FROM card_sections AS section WHERE section.model_version_id = version.id), ']}')
                FROM unnest(CASE model.risk_tier
                    WHEN 'LOW' THEN ARRAY['Intended use', 'Training data', 'Metrics']
                    WHEN 'LIMITED' THEN ARRAY['Intended use', 'Limitations', 'Training data', 'Procedure', 'Metrics', 'Data needs']
                    ELSE ARRAY['Intended use', 'Limitations', 'Training data', 'Procedure', 'Metrics', 'Data needs',
                        'Evaluation', 'Ethical considerations', 'Human oversight'] END)
                    WITH ORDINALITY AS required (name, place)
                LEFT JOIN LATERAL (SELECT required.name WHERE NOT EXISTS (
                    SELECT FROM card_sections WHERE model_version_id = version.id AND card_sections.name = required.name)
                    AND NOT (required.name = 'Data needs' AND EXISTS (
                        SELECT FROM data_needs WHERE model_version_id = version.id))) AS missing ON true),
            ',"metrics":[', (
                SELECT string_agg(concat('{"name":', to_json(metric.name), ',"value":', value, ',"split":',
                    coalesce(to_json(split)::text, 'null'), '}'), ',' ORDER BY metric.id)
                FROM model_metrics AS metric WHERE metric.model_version_id = version.id),
            '],"artifacts":{"nodes":[', (
                SELECT string_agg(concat('{"path":', to_json(path), ',"sizeBytes":"', size_bytes, '","sha256":"', sha256,
                    '","url":', CASE WHEN state = 'STORED' THEN to_json($4 || '/artifacts/' || id)::text ELSE 'null' END, '}'), ',')
                FROM (SELECT * FROM artifacts WHERE owner_kind = 'MODEL_VERSION' AND owner_id = version.id
                    ORDER BY path, id LIMIT 20) AS file),
            ']},"producedBy":', coalesce((
                SELECT concat('{"id":"Job_', replace(jobs.id::text, '-', ''), '","state":"', state, '","charge":{"captured":"',
                    trim_scale(captured * 0.000001), '"}}')
                FROM jobs WHERE jobs.id = produced_by_job_id AND team_id = ANY ($3::uuid[])), 'null'),
            ',"lineage":', (
                SELECT concat('{"complete":', CASE WHEN coalesce(bool_and(told), true) AND count(*) <= 50 THEN 'true' ELSE 'false' END,
                    ',"links":[', string_agg(concat('{"kind":"', edge_kind, '","basis":"', basis,
                        '","from":{"__typename":"', made, '","id":"', made, '_', replace(made_id::text, '-', ''),
                        '"},"to":{"__typename":"', source, '","id":"', source, '_', replace(source_id::text, '-', ''), '"}}'),
                        ',') FILTER (WHERE told AND place <= 50), ']}')
                FROM (
                    SELECT *, row_number() OVER () AS place FROM (
                        SELECT DISTINCT ON (edge_id) *, source IS NOT NULL AND distance < 4 AS told FROM (
                            WITH RECURSIVE reached (distance, edge_id, edge_kind, basis, made, made_id, source, source_id) AS (
                                SELECT 0, NULL::uuid, NULL::text, NULL::text, NULL, NULL::uuid, 'ModelVersion', version.id
                                UNION
                                SELECT distance + 1, edge.id, edge.kind, edge.basis, source, edge.from_id, CASE edge.to_kind
                                    WHEN 'MODEL_VERSION' THEN (
                                        SELECT 'ModelVersion' FROM model_versions AS other
                                        JOIN models ON models.id = other.model_id
                                        WHERE other.id = to_id AND (visibility = 'ORGANISATION' OR team_id = ANY ($3::uuid[])))
                                    WHEN 'DATASET_VERSION' THEN (
                                        SELECT 'DatasetVersion' FROM dataset_versions AS other
                                        JOIN datasets ON datasets.id = other.dataset_id
                                        WHERE other.id = to_id AND (visibility = 'ORGANISATION' OR team_id = ANY ($3::uuid[])
                                            OR EXISTS (SELECT FROM dataset_stewards AS steward
                                                WHERE steward.dataset_id = datasets.id AND steward.user_id = $5::uuid)))
                                    WHEN 'PACKAGE' THEN (
                                        SELECT 'Package' FROM packages WHERE packages.id = to_id AND team_id = ANY ($3::uuid[]))
                                    WHEN 'ENVIRONMENT' THEN (SELECT 'Environment' FROM environments WHERE environments.id = to_id)
                                    WHEN 'JOB' THEN (SELECT 'Job' FROM jobs WHERE jobs.id = to_id AND team_id = ANY ($3::uuid[]))
                                    END, edge.to_id
                                FROM reached JOIN lineage_edges AS edge ON edge.from_id = source_id
                                WHERE source IS NOT NULL AND distance < 4
                            )
                            SELECT * FROM reached WHERE distance > 0
                        ) AS way ORDER BY edge_id, distance
                    ) AS link ORDER BY told DESC, distance, edge_id LIMIT 51
                ) AS nearest),
            '}'), ',' ORDER BY number DESC) FROM version),
    ']},"lessons":{"nodes":[', (
        SELECT string_agg(concat('{"id":"Lesson_', replace(lesson.id::text, '-', ''), '","summary":', to_json(summary), ',"body":',
            to_json(body), ',"outcome":"', outcome, '","dontUseWhen":', coalesce(to_json(dont_use_when)::text, 'null'),
            ',"evidence":{"job":', coalesce((
                SELECT concat('{"id":"Job_', replace(jobs.id::text, '-', ''), '"}')
                FROM jobs WHERE jobs.id = lesson.job_id AND jobs.team_id = ANY ($3::uuid[])), 'null'),
            '},"author":', coalesce('{"name":' || to_json(users.name)::text || '}', 'null'), ',"createdAt":"',
            to_char(lesson.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '"}'), ','
            ORDER BY lesson.created_at DESC, lesson.id DESC)
        FROM (SELECT * FROM lessons WHERE lessons.model_id = model.id ORDER BY created_at DESC, id DESC LIMIT 5) AS lesson
        LEFT JOIN users ON users.id = author_id AND author_kind = 'USER'),
    ']},"adoptions":{"totalCount":', (
        SELECT count(*) FROM adoptions WHERE adoptions.model_id = model.id AND ended_at IS NULL), ',"nodes":[', (
        SELECT string_agg(concat('{"team":{"name":', to_json(teams.name), '},"version":{"number":', adopted.number, '},"since":"',
            to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '"}'), ',' ORDER BY since DESC, adoption.id DESC)
        FROM (SELECT * FROM adoptions WHERE adoptions.model_id = model.id AND ended_at IS NULL
            ORDER BY since DESC, id DESC LIMIT 10) AS adoption
        JOIN teams ON teams.id = adoption.team_id JOIN model_versions AS adopted ON adopted.id = adoption.model_version_id),
    ']}}') FROM model), 'null'), '}}')

-- name: search
-- $1 how many, $2 the viewer's teams, $3 and $4 the words as English and as beginnings, $5 and $6 the same for what is shown,
-- $7 and $8 the keys of the cursors' MAC, $9 what they are bound to
WITH query AS MATERIALIZED (
    SELECT websearch_to_tsquery('english', $3::text) || to_tsquery('simple', $4::text) AS wanted,
        websearch_to_tsquery('english', $5::text) || to_tsquery('simple', $6::text) AS shown
), found AS MATERIALIZED (
    SELECT id, round(ts_rank('{0.1, 0.25, 0.5, 1.0}', search, wanted, 32) * 1000000)::int AS score FROM query, models
    WHERE search @@ wanted AND (visibility = 'ORGANISATION' OR team_id = ANY ($2::uuid[]))
), hit AS (
    SELECT *, row_number() OVER () AS place, count(*) OVER () AS total
    FROM (SELECT * FROM found ORDER BY score DESC, id DESC LIMIT $1::int + 1) AS best
), edge AS (
    SELECT place, total, score, models.*, (
        SELECT translate(encode(
            substr(sha256($8::bytea || sha256($7::bytea || '\x00000020'::bytea || $9::bytea || body)), 1, 16) || body,
            'base64'), E'+/=\n', '-_')
        FROM (SELECT convert_to('[' || score || ',["u","' || hit.id || '"]]', 'UTF8') AS body) AS last) AS cursor
    FROM hit JOIN models ON models.id = hit.id WHERE place <= $1::int
)
SELECT concat('{"data":{"searchModels":{"count":{"value":', least((SELECT count(*) FROM found), 1000), ',"exact":',
    CASE WHEN (SELECT count(*) FROM found) <= 1000 THEN 'true' ELSE 'false' END, '},"edges":[',
    string_agg(concat('{"cursor":"', cursor, '","score":', score::float8 / 1000000, ',"highlights":[', (
        SELECT string_agg(concat('{"field":', to_json(field), ',"text":',
            to_json(ts_headline('english', content, (SELECT shown FROM query),
                CASE WHEN char_length(content) <= 200 THEN 'StartSel=«, StopSel=», HighlightAll=true' ELSE
                'StartSel=«, StopSel=», MaxFragments=2, MaxWords=20, MinWords=6, FragmentDelimiter=" … "' END)), '}'), ',')
        FROM (
            SELECT field, content FROM (
                SELECT 1 AS place, edge.id AS newest, 'name' AS field, edge.name::text AS content
                UNION ALL SELECT 2, edge.id, 'task', edge.task || ' ' || array_to_string(edge.tags, ' ')
                UNION ALL SELECT 3, edge.id, 'description', edge.description
                UNION ALL SELECT 4, section.id, 'card: ' || section.name, section.body
                FROM card_sections AS section JOIN model_versions AS version ON version.id = section.model_version_id
                WHERE version.model_id = edge.id AND version.status <> 'ABANDONED'
                UNION ALL SELECT 5, lesson.id, 'lesson', btrim(concat_ws(' ', summary, body, dont_use_when))
                FROM lessons AS lesson WHERE lesson.model_id = edge.id
            ) AS texts
            WHERE (to_tsvector('english', content) || to_tsvector('simple', content)) @@ (SELECT shown FROM query)
            ORDER BY place, newest DESC LIMIT 5
        ) AS matched), '],"node":{"id":"Model_', replace(edge.id::text, '-', ''), '","name":', to_json(edge.name), ',"team":',
        (SELECT concat('{"name":', to_json(teams.name), '}') FROM teams WHERE teams.id = team_id),
        ',"lessons":{"nodes":[', (
            SELECT concat('{"summary":', to_json(summary), '}') FROM lessons WHERE lessons.model_id = edge.id
            ORDER BY created_at DESC, id DESC LIMIT 1),
        ']},"adoptions":{"totalCount":', (
            SELECT count(*) FROM adoptions WHERE adoptions.model_id = edge.id AND ended_at IS NULL),
        '},"viewerCan":true}}'), ','),
    '],"pageInfo":{"hasNextPage":', CASE WHEN max(total) > $1::int THEN 'true' ELSE 'false' END, ',"endCursor":',
    coalesce('"' || max(cursor) FILTER (WHERE place = least($1::int, total)) || '"', 'null'), '}}}}')
FROM edge
