"""What was done long ago, and what is recorded of a minute, are found without looking at all rows."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_outbox_done", "outbox", ["done_at"], postgresql_where=sa.text("done_at IS NOT NULL"))
    op.create_index(
        "ix_failed_sign_ins_recorded", "failed_sign_ins", ["since"], postgresql_where=sa.text("recorded > 0")
    )


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
