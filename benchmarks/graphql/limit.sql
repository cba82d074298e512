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
