"""Audit: events by month, personal values apart from them, and the tree that proves that nothing is missing."""

from alembic import op

from guildhall.clock import SystemClock
from guildhall.db import ddl

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

MONTHS_AHEAD = 3

# What was recorded before there was a seal stays as it was, in a table of its own that nobody changes.
KEEP_EARLIER = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM audit_events) THEN
        ALTER TABLE audit_events RENAME TO audit_events_before_seal;
        ALTER TABLE audit_events_before_seal RENAME CONSTRAINT pk_audit_events TO pk_audit_events_before_seal;
        ALTER TABLE audit_events_before_seal
            RENAME CONSTRAINT uq_audit_events_concludes_id TO uq_audit_events_before_seal_concludes_id;
        ALTER INDEX ix_audit_events_resource_ids RENAME TO ix_audit_events_before_seal_resource_ids;
    ELSE
        DROP TABLE audit_events;
    END IF;
END $$
"""

EVENTS = """
CREATE TABLE audit_events (
    id uuid NOT NULL,
    act_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    actor_kind varchar NOT NULL,
    actor_id uuid NOT NULL,
    on_behalf_of_id uuid,
    team_id uuid,
    action varchar NOT NULL,
    permission_class varchar NOT NULL,
    outcome varchar NOT NULL,
    resource_types varchar[] NOT NULL,
    resource_ids uuid[] NOT NULL,
    purpose varchar,
    access_grant_id uuid,
    reason_code varchar,
    reason_message varchar,
    request_id varchar,
    client varchar,
    rows bigint,
    bytes bigint,
    before jsonb,
    after jsonb,
    commitments jsonb,
    concludes_id uuid,
    mac_key varchar NOT NULL,
    mac bytea NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT pk_audit_events PRIMARY KEY (id, act_at),
    CONSTRAINT ck_audit_events_actor_kind CHECK (actor_kind IN ('USER', 'SERVICE_ACCOUNT', 'JOB', 'SYSTEM')),
    CONSTRAINT ck_audit_events_permission_class
        CHECK (permission_class IN ('ADMIN_READ', 'ADMIN_WRITE', 'DATA_READ', 'DATA_WRITE')),
    CONSTRAINT ck_audit_events_outcome
        CHECK (outcome IN ('ALLOWED', 'REFUSED', 'STARTED', 'COMPLETED', 'ABORTED')),
    CONSTRAINT ck_audit_events_resources_in_pairs CHECK (cardinality(resource_types) = cardinality(resource_ids)),
    CONSTRAINT ck_audit_events_outcome_concludes
        CHECK ((outcome IN ('COMPLETED', 'ABORTED')) = (concludes_id IS NOT NULL)),
    CONSTRAINT ck_audit_events_act_at_of_intent CHECK (concludes_id IS NOT NULL OR act_at = occurred_at),
    CONSTRAINT ck_audit_events_counts_not_negative CHECK (rows >= 0 AND bytes >= 0),
    CONSTRAINT ck_audit_events_mac_is_whole CHECK (octet_length(mac) = 32)
) PARTITION BY RANGE (act_at)
"""

EVENT_INDEXES = """
CREATE INDEX ix_audit_events_act_at_id ON audit_events (act_at, id);
CREATE INDEX ix_audit_events_actor_id_act_at ON audit_events (actor_id, act_at);
CREATE INDEX ix_audit_events_on_behalf_of_id_act_at ON audit_events (on_behalf_of_id, act_at)
    WHERE on_behalf_of_id IS NOT NULL;
CREATE INDEX ix_audit_events_access_grant_id_act_at ON audit_events (access_grant_id, act_at)
    WHERE access_grant_id IS NOT NULL;
CREATE INDEX ix_audit_events_changes ON audit_events (action, act_at) WHERE permission_class = 'ADMIN_WRITE';
CREATE INDEX ix_audit_events_no_grant ON audit_events (act_at, id)
    WHERE permission_class = 'DATA_READ' AND access_grant_id IS NULL;
CREATE INDEX ix_audit_events_resource_ids ON audit_events USING gin (resource_ids);
CREATE INDEX ix_audit_events_xid_id ON audit_events (xid, id);
CREATE UNIQUE INDEX uq_audit_events_concludes_id ON audit_events (concludes_id, act_at) WHERE concludes_id IS NOT NULL;
"""

PERSONAL = """
CREATE TABLE audit_personal (
    event_id uuid NOT NULL,
    person_id uuid NOT NULL,
    act_at timestamptz NOT NULL,
    salt bytea,
    content jsonb,
    erased_at timestamptz,
    CONSTRAINT pk_audit_personal PRIMARY KEY (event_id, person_id, act_at),
    CONSTRAINT ck_audit_personal_salt_goes_with_content CHECK ((content IS NULL) = (salt IS NULL)),
    CONSTRAINT ck_audit_personal_erased_or_there CHECK ((content IS NULL) = (erased_at IS NOT NULL))
) PARTITION BY RANGE (act_at);
CREATE INDEX ix_audit_personal_person_id ON audit_personal (person_id) WHERE content IS NOT NULL;
"""

# Erasing takes content and salt away together; nothing else of such a row ever changes.
ERASE_ONLY = """
CREATE FUNCTION audit_personal_erase_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.content IS NULL AND NEW.erased_at IS NOT NULL AND OLD.content IS NOT NULL
        AND (NEW.event_id, NEW.person_id, NEW.act_at) = (OLD.event_id, OLD.person_id, OLD.act_at) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'personal values of the audit record are erased, never changed'
        USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME;
END $$;
CREATE TRIGGER audit_personal_erase_only BEFORE UPDATE OR DELETE ON audit_personal
    FOR EACH ROW EXECUTE FUNCTION audit_personal_erase_only();
"""

# Made beside its table and then attached: to create one as a partition would shut out every writer meanwhile.
PARTITIONS = """
CREATE FUNCTION audit_make_partition(parent text, suffix text, bounds text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    partition text := parent || '_' || suffix;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition, parent);
    EXECUTE format('REVOKE ALL ON TABLE %I FROM guildhall_service', partition);
    IF parent = 'audit_events' THEN
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
            FOR EACH STATEMENT EXECUTE FUNCTION guildhall_refuse_change()', partition || '_append_only', partition);
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I %s', parent, partition, bounds);
END $$;

CREATE FUNCTION audit_make_partitions(moment timestamptz, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    parent text;
    begins timestamptz;
    taken boolean;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('audit partitions', 0));
    FOREACH parent IN ARRAY ARRAY['audit_events', 'audit_personal'] LOOP
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
END $$;
REVOKE EXECUTE ON FUNCTION audit_make_partition FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION audit_make_partitions FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION audit_make_partition FROM guildhall_service;
GRANT EXECUTE ON FUNCTION audit_make_partitions TO guildhall_service;
"""

SEAL = """
CREATE TABLE audit_leaves (
    number bigint NOT NULL,
    event_id uuid NOT NULL,
    act_at timestamptz NOT NULL,
    entry bytea NOT NULL,
    CONSTRAINT pk_audit_leaves PRIMARY KEY (number),
    CONSTRAINT uq_audit_leaves_event_id UNIQUE (event_id),
    CONSTRAINT ck_audit_leaves_entry_is_whole CHECK (octet_length(entry) = 32)
);
CREATE TABLE audit_tiles (
    level smallint NOT NULL,
    number bigint NOT NULL,
    hashes bytea NOT NULL,
    CONSTRAINT pk_audit_tiles PRIMARY KEY (level, number)
);
CREATE TABLE audit_seal (
    id integer NOT NULL,
    size bigint NOT NULL,
    sealed_snapshot text NOT NULL,
    pending_snapshot text,
    pending_xid text,
    pending_id uuid,
    anew boolean NOT NULL,
    note text,
    sealed_at timestamptz,
    CONSTRAINT pk_audit_seal PRIMARY KEY (id),
    CONSTRAINT ck_audit_seal_one_row CHECK (id = 1)
);
INSERT INTO audit_seal (id, size, sealed_snapshot, anew) VALUES (1, 0, '1:1:', false);
CREATE TABLE audit_tree_heads (
    size bigint NOT NULL,
    note text NOT NULL,
    published_at timestamptz NOT NULL,
    CONSTRAINT pk_audit_tree_heads PRIMARY KEY (size)
);
CREATE TABLE audit_archives (
    name varchar NOT NULL,
    begins_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    events bigint NOT NULL,
    sha256 varchar NOT NULL,
    archived_at timestamptz NOT NULL,
    mac_key varchar NOT NULL,
    mac bytea NOT NULL,
    CONSTRAINT pk_audit_archives PRIMARY KEY (name)
);
CREATE TABLE audit_streams (
    name varchar NOT NULL,
    next_leaf bigint NOT NULL,
    delivered_at timestamptz NOT NULL,
    CONSTRAINT pk_audit_streams PRIMARY KEY (name)
);
"""


def upgrade() -> None:
    """The record is made anew, by month, with all that the seal needs."""
    connection = op.get_bind()
    for statements in (KEEP_EARLIER, EVENTS, PERSONAL, ERASE_ONLY, PARTITIONS, SEAL):
        for statement in _split(statements):
            connection.exec_driver_sql(statement)
    ddl.append_only(op, "audit_events")
    for parent in ("audit_events", "audit_personal"):
        op.execute(f"SELECT audit_make_partition('{parent}', 'default', 'DEFAULT')")
    month = SystemClock().now().strftime("%Y-%m-01T00:00:00Z")
    op.execute(f"SELECT audit_make_partitions('{month}', {MONTHS_AHEAD})")
    for statement in _split(EVENT_INDEXES):
        connection.exec_driver_sql(statement)
    ddl.service_may(op, "audit_personal", "SELECT, INSERT")
    op.execute("GRANT UPDATE (salt, content, erased_at) ON TABLE audit_personal TO guildhall_service")
    for table in ("audit_leaves", "audit_tree_heads", "audit_archives"):
        ddl.append_only(op, table)
    ddl.service_may(op, "audit_archives", "SELECT")
    ddl.service_may(op, "audit_streams", "SELECT, INSERT, UPDATE")
    ddl.service_may(op, "audit_tiles", "SELECT, INSERT, UPDATE")
    ddl.service_may(op, "audit_seal", "SELECT, UPDATE")


def _split(statements: str) -> list[str]:
    """One statement each, for the driver; a function ends with a line of its own."""
    parts, body = [], ""
    for line in statements.strip().splitlines():
        body += line + "\n"
        if line.rstrip().endswith(";") and body.count("$$") % 2 == 0:
            parts.append(body)
            body = ""
    return [*parts, body] if body.strip() else parts


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
