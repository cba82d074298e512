"""Audit: each question has its rows in the order in which they are asked for, whoever and whatever it is about.

An index of arrays knows no order, so what acts are about lies in a table of its own, written by the database with the
event. Two of the other indexes become ones that are in order.
"""

from alembic import op

from guildhall.db import ddl

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE audit_resources (
    resource_id uuid NOT NULL,
    act_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    CONSTRAINT pk_audit_resources PRIMARY KEY (resource_id, act_at, event_id)
)
"""
# The trigger has written none of these: it is of the same transaction, which writes no event of its own.
FILLED = """
INSERT INTO audit_resources (resource_id, act_at, event_id)
SELECT DISTINCT resource_id, act_at, id FROM audit_events, unnest(resource_ids) AS resource_id
WHERE concludes_id IS NULL
"""
# With the rights of its owner: the service can neither write these rows nor keep them from being written.
WRITTEN = """
CREATE FUNCTION audit_write_resources() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_resources (resource_id, act_at, event_id)
    SELECT DISTINCT resource_id, act_at, id FROM made, unnest(resource_ids) AS resource_id
    WHERE concludes_id IS NULL
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE TRIGGER audit_events_resources AFTER INSERT ON audit_events
REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION audit_write_resources()
"""
INDEXES = (
    "DROP INDEX ix_audit_events_resource_ids",
    "DROP INDEX ix_audit_events_on_behalf_of_id_act_at",
    "DROP INDEX ix_audit_events_changes",
    (
        "CREATE INDEX ix_audit_events_responsible ON audit_events (COALESCE(on_behalf_of_id, actor_id), act_at, id) "
        "WHERE concludes_id IS NULL"
    ),
    (
        "CREATE INDEX ix_audit_events_policy ON audit_events (act_at, id) "
        "WHERE permission_class = 'ADMIN_WRITE' AND action IN ('guildhall:role:bind', 'guildhall:role:change', "
        "'guildhall:role:escalate', 'guildhall:role:take', 'guildhall:emergency:review', 'guildhall:group:map', "
        "'guildhall:team:change', 'guildhall:service-account:change', 'guildhall:user:change', "
        "'guildhall:configuration:apply', 'registry:purpose:change', 'registry:dataset:steward', "
        "'registry:restriction:loosen', 'registry:restriction:decide')"
    ),
)


def upgrade() -> None:
    """From the trigger on writers wait for the commit, so only what is filled in after it lacks nothing."""
    for statement in (TABLE, WRITTEN, "REVOKE EXECUTE ON FUNCTION audit_write_resources FROM PUBLIC", TRIGGER, FILLED):
        op.execute(statement)
    ddl.service_may(op, "audit_resources", "SELECT")
    for statement in INDEXES:
        op.execute(statement)


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
