"""Audit: what acts are about lies in partitions of its months, which leave together with their events; used grants.

Whether an access grant was ever used is known of each for itself, so that nobody has to look for a read of it.
"""

from alembic import op

from guildhall.db import ddl

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

# Nobody makes a month meanwhile.
BEGUN = "SELECT pg_advisory_xact_lock(hashtextextended('audit partitions', 0))"
# Writers wait for the commit, and write into the new tables then.
EVENTS_HELD = "LOCK TABLE audit_events IN SHARE ROW EXCLUSIVE MODE"
WHOLE = "ALTER TABLE audit_resources RENAME TO audit_resources_whole"
TABLE = """
CREATE TABLE audit_resources (
    resource_id uuid NOT NULL,
    act_at timestamptz NOT NULL,
    event_id uuid NOT NULL
) PARTITION BY RANGE (act_at)
"""
DEFAULT = "SELECT audit_make_partition('audit_resources', 'default', 'DEFAULT')"
MONTHS = """
SELECT audit_make_partition(
    'audit_resources', replace(relname, 'audit_events_', ''), pg_get_expr(relpartbound, pg_class.oid)
)
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'audit_events'::regclass AND relname <> 'audit_events_default'
"""
MOVED = "INSERT INTO audit_resources (resource_id, act_at, event_id) TABLE audit_resources_whole"
KEY = "ALTER TABLE audit_resources ADD CONSTRAINT pk_audit_resources PRIMARY KEY (resource_id, act_at, event_id)"

USED = """
CREATE TABLE audit_used_grants (
    access_grant_id uuid NOT NULL,
    act_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    CONSTRAINT pk_audit_used_grants PRIMARY KEY (access_grant_id)
)
"""
USES = """
INSERT INTO audit_used_grants (access_grant_id, act_at, event_id)
SELECT DISTINCT ON (access_grant_id) access_grant_id, act_at, id FROM audit_events
WHERE access_grant_id IS NOT NULL AND permission_class = 'DATA_READ' AND outcome <> 'REFUSED' AND concludes_id IS NULL
ORDER BY access_grant_id, act_at, id
"""
# In the order of the grants, so that two writers who use the same ones for the first time do not lock each other out.
WRITTEN = """
CREATE OR REPLACE FUNCTION audit_write_resources() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_resources (resource_id, act_at, event_id)
    SELECT DISTINCT resource_id, act_at, id FROM made, unnest(resource_ids) AS resource_id
    WHERE concludes_id IS NULL
    ON CONFLICT DO NOTHING;
    INSERT INTO audit_used_grants (access_grant_id, act_at, event_id)
    SELECT DISTINCT ON (access_grant_id) access_grant_id, act_at, id FROM made
    WHERE access_grant_id IS NOT NULL AND permission_class = 'DATA_READ' AND outcome <> 'REFUSED'
        AND concludes_id IS NULL
    ORDER BY access_grant_id, act_at, id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$
"""

# As it was, for one more table.
MAKE_PARTITIONS = """
CREATE OR REPLACE FUNCTION audit_make_partitions(moment timestamptz, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    parent text;
    begins timestamptz;
    taken boolean;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit partitions', 0));
    FOREACH parent IN ARRAY ARRAY['audit_events', 'audit_personal', 'audit_resources'] LOOP
        FOR n IN 0 .. months - 1 LOOP
            begins := date_trunc('month', moment) + n * interval '1 month';
            CONTINUE WHEN to_regclass(parent || to_char(begins, '_YYYY_MM')) IS NOT NULL;
            -- A month that has rows in the default partition already stays there: moving them would change a record.
            EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE act_at >= $1 AND act_at < $2)', parent || '_default')
                INTO taken USING begins, begins + interval '1 month';
            CONTINUE WHEN taken;
            PERFORM audit_make_partition(parent, to_char(begins, 'YYYY_MM'),
                format('FOR VALUES FROM (%L) TO (%L)', begins, begins + interval '1 month'));
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$
"""


def upgrade() -> None:
    """The rows are moved, and get their index when they are there."""
    by_month = (WHOLE, TABLE, DEFAULT, MONTHS, MOVED, "DROP TABLE audit_resources_whole", KEY, MAKE_PARTITIONS)
    for statement in (BEGUN, EVENTS_HELD, *by_month, USED, USES, WRITTEN):
        op.execute(statement)
    for table in ("audit_resources", "audit_used_grants"):
        ddl.service_may(op, table, "SELECT")


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
