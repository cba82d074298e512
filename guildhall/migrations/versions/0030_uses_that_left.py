"""Audit: when a month leaves for its archive, by which access grants data was read in it stays, and is proven."""

from alembic import op

from guildhall.db import ddl

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

USES = """
CREATE TABLE audit_archived_uses (
    access_grant_id uuid NOT NULL,
    archive varchar NOT NULL,
    times bigint NOT NULL,
    first_used_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    CONSTRAINT pk_audit_archived_uses PRIMARY KEY (access_grant_id, archive)
)
"""


def upgrade() -> None:
    """Of months that have left before, nothing is kept, and their codes stay as they are."""
    op.execute(USES)
    ddl.append_only(op, "audit_archived_uses")
    ddl.service_may(op, "audit_archived_uses", "SELECT")
    op.execute("ALTER TABLE audit_archives ADD COLUMN uses_sha256 varchar")


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
