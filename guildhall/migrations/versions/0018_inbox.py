"""Inbox: events that people are told of, and each person's notifications.

Notices that waited to be sent go: what they were about is told from the tables of grants and alerts now.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from guildhall.db import ddl
from guildhall.db.engine import SERVICE_ROLE

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

KINDS = (
    "'JOB_ENDED', 'HOLD_RELEASED', 'ACCESS_ASKED', 'ACCESS_DECIDED', 'ACCESS_WITHDRAWN', 'ACCESS_ENDS', "
    "'ACCESS_ALERT', 'ALLOCATION_ENDS'"
)


def upgrade() -> None:
    """The service may add both, forget both, and say of a notification when it was read; nothing else of it changes."""
    op.create_table(
        "inbox_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject_type", sa.String(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=True),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(f"kind IN ({KINDS})", name=op.f("ck_inbox_events_kind_known")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_inbox_events_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox_events")),
        sa.UniqueConstraint("subject_id", "kind", name=op.f("uq_inbox_events_subject_id_kind")),
    )
    op.create_index("ix_inbox_events_occurred_at", "inbox_events", ["occurred_at"])
    ddl.service_may(op, "inbox_events", "SELECT, INSERT, DELETE")
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["inbox_events.id"], name=op.f("fk_notifications_event_id_inbox_events")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_notifications_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint("event_id", "user_id", name=op.f("uq_notifications_event_id_user_id")),
    )
    columns = ["user_id", "created_at", "id"]
    op.create_index("ix_notifications_inbox", "notifications", columns)
    op.create_index("ix_notifications_unread", "notifications", columns, postgresql_where=sa.text("read_at IS NULL"))
    op.create_index(
        "ix_notifications_read_at", "notifications", ["read_at"], postgresql_where=sa.text("read_at IS NOT NULL")
    )
    ddl.service_may(op, "notifications", "SELECT, INSERT, DELETE")
    op.execute(f"GRANT UPDATE (read_at) ON TABLE notifications TO {SERVICE_ROLE}")
    op.execute("DELETE FROM outbox WHERE topic = 'registry.notice'")


def downgrade() -> None:
    """Drop both."""
    op.drop_table("notifications")
    op.drop_table("inbox_events")
