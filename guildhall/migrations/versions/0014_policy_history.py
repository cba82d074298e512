"""Audit: every line of the policy as it ever was, so that auditors can ask what it said on a day."""

from alembic import op

from guildhall.db import ddl

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

HISTORY = """
CREATE TABLE policy_history (
    id uuid NOT NULL,
    changed_at timestamptz NOT NULL,
    kind varchar NOT NULL,
    key varchar NOT NULL,
    line jsonb,
    CONSTRAINT pk_policy_history PRIMARY KEY (id),
    CONSTRAINT ck_policy_history_kind CHECK (kind IN ('BINDING', 'RULE', 'TEAM'))
)
"""

# Written by the database, so that nobody forgets to: whoever changes the policy, by whatever way.
FUNCTION = """
CREATE FUNCTION policy_history_write() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    before jsonb;
    after jsonb;
    named text;
BEGIN
    IF TG_OP <> 'INSERT' THEN before := to_jsonb(OLD); END IF;
    IF TG_OP <> 'DELETE' THEN after := to_jsonb(NEW); END IF;
    IF before IS NOT DISTINCT FROM after THEN RETURN NULL; END IF;
    named := CASE TG_ARGV[0]
        WHEN 'RULE' THEN concat(coalesce(after, before) ->> 'role', ' ', coalesce(after, before) ->> 'permission')
        ELSE coalesce(after, before) ->> 'id'
    END;
    INSERT INTO policy_history (id, changed_at, kind, key, line)
    -- server time: when the line changed in this database, whatever the caller takes for the time
    VALUES (gen_random_uuid(), clock_timestamp(), TG_ARGV[0], named, after);
    RETURN NULL;
END $$
"""

TABLES = {"role_bindings": "BINDING", "role_permissions": "RULE", "teams": "TEAM"}


def upgrade() -> None:
    """What the policy says now is the beginning of its history."""
    connection = op.get_bind()
    connection.exec_driver_sql(HISTORY)
    op.create_index("ix_policy_history_kind_key_changed_at", "policy_history", ["kind", "key", "changed_at"])
    connection.exec_driver_sql(FUNCTION)
    op.execute("REVOKE EXECUTE ON FUNCTION policy_history_write FROM PUBLIC")
    for table, kind in TABLES.items():
        key = "concat(role, ' ', permission)" if kind == "RULE" else "id::text"
        # server time: the history begins when this database is brought to this revision
        values = f"SELECT gen_random_uuid(), clock_timestamp(), '{kind}', {key}, to_jsonb(line)"
        connection.exec_driver_sql(
            f"INSERT INTO policy_history (id, changed_at, kind, key, line) {values} FROM {table} AS line"
        )
        op.execute(
            f"CREATE TRIGGER {table}_history AFTER INSERT OR UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION policy_history_write('{kind}')"
        )
    ddl.append_only(op, "policy_history")
    ddl.service_may(op, "policy_history", "SELECT")


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
