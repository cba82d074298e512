"""Scheduler and marketplace: what the power of a cluster stands for in carbon dioxide, and a quote's share of it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Both are unknown for what was there before."""
    op.add_column("clusters", sa.Column("carbon_grams_per_kwh", sa.Integer()))
    op.create_check_constraint(op.f("ck_clusters_carbon_not_negative"), "clusters", "carbon_grams_per_kwh >= 0")
    op.add_column("quotes", sa.Column("predicted_carbon_grams", sa.BigInteger()))


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
