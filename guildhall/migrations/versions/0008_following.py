"""Scheduler: a metric says with which report it came, so that who follows a job can go on after one of them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of metrics that were there before it is not known; they count as the platform's report does, which comes last."""
    op.add_column("job_metrics", sa.Column("sequence", sa.Integer(), nullable=False, server_default="0"))
    op.alter_column("job_metrics", "sequence", server_default=None)
    op.create_check_constraint(op.f("ck_job_metrics_sequence_not_negative"), "job_metrics", "sequence >= 0")
    op.create_index("ix_job_metrics_sequence", "job_metrics", ["attempt_id", "sequence", "id"], unique=False)


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
