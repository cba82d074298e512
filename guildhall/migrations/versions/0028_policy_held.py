"""A change of the policy comes into force between reads of data, never in the middle of the decision about one.

Whoever decides and announces a read holds the policy meanwhile, together with others; a change waits for them at its
commit, and only there, so that a long one holds nobody up.
"""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION guildhall_policy_waits_for_readers() RETURNS trigger
        LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock(hashtextextended('guildhall policy', 0));
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE CONSTRAINT TRIGGER policy_state_waits_for_readers AFTER UPDATE ON policy_state
        DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION guildhall_policy_waits_for_readers()
    """)


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
