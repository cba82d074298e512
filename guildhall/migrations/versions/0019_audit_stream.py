"""Audit: the stream has a lease, so that one process sends, and says what stands in its way."""

from alembic import op

from guildhall.db import ddl

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing was ever written into this table."""
    op.execute("""
        ALTER TABLE audit_streams
            ALTER COLUMN delivered_at DROP NOT NULL,
            ADD COLUMN trouble text,
            ADD COLUMN lease_owner varchar,
            ADD COLUMN lease_token uuid,
            ADD COLUMN lease_expires_at timestamptz,
            ADD CONSTRAINT ck_audit_streams_lease_is_whole
                CHECK (num_nonnulls(lease_owner, lease_token, lease_expires_at) IN (0, 3))
    """)
    ddl.service_may(op, "audit_streams", "SELECT, INSERT, UPDATE, DELETE")


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
