-- The whole organisation of the benchmark, made where it is kept. Every fiftieth model is rich: it has what ModelPage
-- shows. One model in ten is for its own team's eyes only. Triggers and foreign keys are off meanwhile
-- (session_replication_role), so the search documents are written here, by the same functions.
-- The functions are STABLE, as what they call: PostgreSQL then puts their bodies in their place, three times as fast.
CREATE FUNCTION pg_temp.key_of(kind int, at timestamptz, n bigint) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(kind), 3, '0')
        || '8' || lpad(to_hex(n), 15, '0'))::uuid $$;
CREATE FUNCTION pg_temp.began(n bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT timestamptz '2025-01-01 00:00:00+00' + n * interval '10 seconds' $$;
CREATE FUNCTION pg_temp.model_of(n bigint) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT pg_temp.key_of(3, pg_temp.began(n), n) $$;
CREATE FUNCTION pg_temp.version_of(n bigint, number int) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT pg_temp.key_of(4, pg_temp.began(n) + number * interval '1 hour', n * 10 + number) $$;
CREATE FUNCTION pg_temp.word_of(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY['gauge', 'weld', 'bearing', 'turbine', 'valve', 'conveyor', 'camera', 'thermal', 'vibration', 'paint',
        'scratch', 'torque', 'pressure', 'acoustic', 'battery', 'motor', 'gearbox', 'packaging', 'label', 'pallet',
        'forklift', 'robot', 'gripper', 'fastener', 'casting', 'sensor', 'corrosion', 'leak', 'filter', 'pump',
        'nozzle', 'laser'])[1 + n % 32] $$;

-- An index that is built over all rows at once costs a fraction of one that grows with each of them.
CREATE TEMPORARY TABLE built_afterwards AS
SELECT index.indexrelid::regclass::text AS name, pg_get_indexdef(index.indexrelid) AS definition
FROM pg_index AS index JOIN pg_class AS of_table ON of_table.oid = index.indrelid
WHERE of_table.relnamespace = 'public'::regnamespace AND of_table.relname IN ('models', 'model_versions', 'model_metrics',
        'card_sections', 'data_needs', 'artifacts', 'aliases', 'lessons', 'adoptions', 'lineage_edges')
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = index.indexrelid);
DO $$
DECLARE index text;
BEGIN
    FOR index IN SELECT name FROM built_afterwards LOOP
        EXECUTE 'DROP INDEX ' || index;
    END LOOP;
END $$;

INSERT INTO teams (id, name, title, created_at)
SELECT pg_temp.key_of(1, pg_temp.began(0), n), 'team-' || n, 'Team ' || n, pg_temp.began(0) FROM generate_series(0, 99) AS n;

INSERT INTO users (id, name, email, created_at)
SELECT pg_temp.key_of(2, pg_temp.began(0), n), 'User ' || n, 'user-' || n || '@example.org', pg_temp.began(0)
FROM generate_series(0, 999) AS n;

INSERT INTO models (id, team_id, name, task, description, visibility, risk_tier, tags, versions_made, created_by, created_at,
    search)
SELECT made.*, registry_weigh(name, 'A') || registry_weigh(task || ' ' || array_to_string(tags, ' '), 'B')
    || registry_weigh(description, 'C')
FROM (
    SELECT pg_temp.model_of(n), pg_temp.key_of(1, pg_temp.began(0), n % 100), 'model-' || n AS name,
        pg_temp.word_of(n) || '-detection' AS task,
        'Finds the ' || pg_temp.word_of(n / 32) || ' of a ' || pg_temp.word_of(n / 7) || ' beside the '
            || pg_temp.word_of(n / 3) || ', unit ' || n % 997 || ', from its ' || pg_temp.word_of(n / 11) || ' readings.'
            AS description,
        CASE WHEN n % 10 = 3 THEN 'TEAM' ELSE 'ORGANISATION' END, (ARRAY['LOW', 'LIMITED', 'HIGH'])[1 + n % 3],
        ARRAY[pg_temp.word_of(n / 5), pg_temp.word_of(n / 13)] AS tags, 5,
        pg_temp.key_of(2, pg_temp.began(0), n % 1000), pg_temp.began(n)
    FROM generate_series(0, current_setting('bench.models')::bigint - 1) AS n
) AS made;

INSERT INTO model_versions (id, model_id, number, status, status_code, status_message, parameters,
    effective_classification, created_by, created_at, ready_at, published_at)
SELECT pg_temp.version_of(n, number), pg_temp.model_of(n), number,
    CASE WHEN number = 5 THEN 'READY' WHEN number = 2 THEN 'ABANDONED' ELSE 'PUBLISHED' END,
    CASE WHEN number = 2 THEN 'SUPERSEDED' END, CASE WHEN number = 2 THEN 'The next one was better.' END,
    jsonb_build_object('epochs', number * 3), 'INTERNAL', pg_temp.key_of(2, pg_temp.began(0), n % 1000),
    pg_temp.began(n) + number * interval '1 hour', pg_temp.began(n) + number * interval '2 hours',
    CASE WHEN number NOT IN (2, 5) THEN pg_temp.began(n) + number * interval '3 hours' END
FROM generate_series(0, current_setting('bench.models')::bigint - 1) AS n, generate_series(1, 5) AS number;

CREATE TEMPORARY TABLE rich AS
SELECT n FROM generate_series(0, current_setting('bench.models')::bigint - 1, 50) AS n;

INSERT INTO model_metrics (id, model_version_id, name, value, split)
SELECT pg_temp.key_of(5, pg_temp.began(n), n * 100 + number * 10 + metric), pg_temp.version_of(n, number),
    (ARRAY['accuracy', 'recall', 'loss'])[metric], (n % 89 + number + metric) / 128.0, (ARRAY['heldout', 'heldout', 'train'])[metric]
FROM rich, generate_series(1, 5) AS number, generate_series(1, 3) AS metric;

INSERT INTO card_sections (id, model_version_id, name, body, origin, position, updated_by, updated_at)
SELECT pg_temp.key_of(6, pg_temp.began(n), n * 100 + number * 10 + section), pg_temp.version_of(n, number),
    (ARRAY['Intended use', 'Limitations', 'Training data', 'Evaluation'])[section],
    'What is to say about it: ' || repeat(pg_temp.word_of(n + section) || ' and ' || pg_temp.word_of(n / 9) || ', ', 8) || 'and so on.',
    'PERSON', section, pg_temp.key_of(2, pg_temp.began(0), n % 1000), pg_temp.began(n)
FROM rich, generate_series(1, 5) AS number, generate_series(1, 4) AS section WHERE section < 4 OR number <> 5;

INSERT INTO data_needs (id, model_version_id, features, label_definition, rows_min, updated_by, updated_at)
SELECT pg_temp.key_of(7, pg_temp.began(n), n * 10 + number), pg_temp.version_of(n, number),
    '[{"name": "pressure", "type": "float", "unit": "bar", "required": true}, {"name": "at", "type": "timestamp", "unit": null, "required": false}]',
    'what a person would say', 1000, pg_temp.key_of(2, pg_temp.began(0), n % 1000), pg_temp.began(n)
FROM rich, generate_series(3, 4) AS number;

INSERT INTO artifacts (id, owner_kind, owner_id, path, size_bytes, sha256, media_type, state, created_at, stored_at)
SELECT pg_temp.key_of(8, pg_temp.began(n), n * 100 + number * 10 + file), 'MODEL_VERSION', pg_temp.version_of(n, number),
    'part-' || file || '.bin', 1000 * file, encode(sha256(('file ' || n || number || file)::bytea), 'hex'),
    'application/octet-stream', 'STORED', pg_temp.began(n), pg_temp.began(n)
FROM rich, generate_series(1, 5) AS number, generate_series(1, 3) AS file;

INSERT INTO aliases (id, model_id, name, model_version_id, protected, created_at)
SELECT pg_temp.key_of(9, pg_temp.began(n), n * 10 + number), pg_temp.model_of(n),
    (ARRAY['challenger', 'stable', 'champion'])[number - 1], pg_temp.version_of(n, number), number = 4, pg_temp.began(n)
FROM rich, generate_series(2, 4) AS number;

INSERT INTO lessons (id, subject_kind, subject_id, team_id, model_id, summary, body, outcome, dont_use_when, tags,
    author_kind, author_id, created_at)
SELECT pg_temp.key_of(10, pg_temp.began(n), n * 10 + lesson), 'MODEL_VERSION', pg_temp.version_of(n, lesson),
    pg_temp.key_of(1, pg_temp.began(0), n % 100), pg_temp.model_of(n), 'Fails on ' || pg_temp.word_of(n + lesson),
    'Normalise the ' || pg_temp.word_of(n / 4) || ' first.', (ARRAY['WORKED', 'FAILED', 'MIXED'])[lesson],
    'the glass reflects', ARRAY['glare'], 'USER', pg_temp.key_of(2, pg_temp.began(0), lesson), pg_temp.began(n) + lesson * interval '1 minute'
FROM rich, generate_series(1, 3) AS lesson;

INSERT INTO adoptions (id, model_id, model_version_id, team_id, purpose, adopted_by, since)
SELECT pg_temp.key_of(11, pg_temp.began(n), n * 10 + place), pg_temp.model_of(n), pg_temp.version_of(n, 4),
    pg_temp.key_of(1, pg_temp.began(0), (n / 50 + place) % 100), 'defect-detection', pg_temp.key_of(2, pg_temp.began(0), place),
    pg_temp.began(n) + place * interval '1 minute'
FROM rich, generate_series(1, 3) AS place;

INSERT INTO lineage_edges (id, kind, from_kind, from_id, to_kind, to_id, basis, created_at)
SELECT pg_temp.key_of(12, pg_temp.began(n), n * 10 + number), 'FINE_TUNED_FROM', 'MODEL_VERSION', pg_temp.version_of(n, number),
    'MODEL_VERSION', pg_temp.version_of(n, number - 1), 'DECLARED', pg_temp.began(n)
FROM rich, generate_series(2, 5) AS number;

DO $$
DECLARE index text;
BEGIN
    FOR index IN SELECT definition FROM built_afterwards LOOP
        EXECUTE index;
    END LOOP;
END $$;

-- With their cards and lessons: some hundred at a time, as the product has it, and with statistics, or the planner scans.
ANALYZE;
DO $$
DECLARE batch uuid[];
BEGIN
    FOR batch IN SELECT array_agg(pg_temp.model_of(n)) FROM rich GROUP BY n / 25000 LOOP
        PERFORM registry_refresh_model_search(batch);
    END LOOP;
END $$;
