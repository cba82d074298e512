"""Registry: an alert about unusual reading is closed with a note, by somebody who is not the reader."""

import sqlalchemy as sa
from alembic import op

from guildhall.db.engine import SERVICE_ROLE

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Alerts that are there are open."""
    op.add_column("access_alerts", sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("access_alerts", sa.Column("acknowledged_by", sa.Uuid(), nullable=True))
    op.add_column("access_alerts", sa.Column("acknowledgement", sa.String(), nullable=True))
    op.create_foreign_key(
        op.f("fk_access_alerts_acknowledged_by_users"), "access_alerts", "users", ["acknowledged_by"], ["id"]
    )
    for name, condition in (
        ("acknowledgement_whole", "num_nonnulls(acknowledged_at, acknowledged_by, acknowledgement) IN (0, 3)"),
        ("acknowledged_by_another", "acknowledged_by <> user_id"),
    ):
        op.create_check_constraint(op.f(f"ck_access_alerts_{name}"), "access_alerts", condition)
    columns = "acknowledged_at, acknowledged_by, acknowledgement"
    op.execute(f"GRANT UPDATE ({columns}) ON TABLE access_alerts TO {SERVICE_ROLE}")


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
