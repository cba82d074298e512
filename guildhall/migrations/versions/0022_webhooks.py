"""Webhooks with their secrets, deliveries by webhook and mail, and whether somebody wants mail."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    create_webhooks()
    create_deliveries()
    op.create_table(
        "inbox_settings",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("mail", sa.String(), nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_inbox_settings"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_inbox_settings_user_id_users"),
        sa.CheckConstraint("mail IN ('ALL', 'NONE')", name=op.f("ck_inbox_settings_mail")),
    )


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid()),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("kinds", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("paused_at", MOMENT),
        sa.Column("pause_code", sa.String()),
        sa.Column("pause_message", sa.String()),
        sa.Column("rests_until", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_webhooks_team_id_teams"),
        sa.CheckConstraint("cardinality(kinds) > 0", name=op.f("ck_webhooks_kinds_some")),
        sa.CheckConstraint(
            "num_nonnulls(paused_at, pause_code, pause_message) IN (0, 3)", name=op.f("ck_webhooks_pause_whole")
        ),
    )
    op.create_index("ix_webhooks_team_id", "webhooks", ["team_id"])
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("key_name", sa.String(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_secrets"),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name="fk_webhook_secrets_webhook_id_webhooks", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "uq_webhook_secrets_newest", "webhook_secrets", ["webhook_id"], unique=True,
        postgresql_where=sa.text("expires_at IS NULL"),
    )  # fmt: skip
    op.create_index("ix_webhook_secrets_webhook_id", "webhook_secrets", ["webhook_id"])


def create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("webhook_id", sa.Uuid()),
        sa.Column("notification_id", sa.Uuid()),
        sa.Column("event_id", sa.Uuid()),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("lease_owner", sa.String()),
        sa.Column("lease_token", sa.Uuid()),
        sa.Column("lease_expires_at", MOMENT),
        sa.Column("status", sa.Integer()),
        sa.Column("reason_code", sa.String()),
        sa.Column("reason_message", sa.String()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        *(
            sa.ForeignKeyConstraint([column], [f"{table}.id"], name=f"fk_deliveries_{column}_{table}", ondelete="CASCADE")
            for column, table in {
                "webhook_id": "webhooks", "notification_id": "notifications", "event_id": "inbox_events",
            }.items()
        ),
        sa.UniqueConstraint("event_id", "webhook_id", name="uq_deliveries_event_id_webhook_id"),
        sa.UniqueConstraint("notification_id", name="uq_deliveries_notification_id"),
        *(
            sa.CheckConstraint(condition, name=op.f(f"ck_deliveries_{name}"))
            for name, condition in {
                "channel": "channel IN ('WEBHOOK', 'MAIL')",
                "state": "state IN ('WAITING', 'DELIVERED', 'DEAD')",
                "webhook_of_its_channel": "(channel = 'WEBHOOK') = (webhook_id IS NOT NULL)",
                "notification_of_its_channel": "(channel = 'MAIL') = (notification_id IS NOT NULL)",
                "event_or_ping": "(event_id IS NULL) = (kind = 'PING')",
                "ended_once": "(state = 'WAITING') = (ended_at IS NULL)",
                "lease_whole": "num_nonnulls(lease_owner, lease_token, lease_expires_at) IN (0, 3)",
                "attempts_not_negative": "attempts >= 0",
            }.items()
        ),
    )  # fmt: skip
    waiting = sa.text("state = 'WAITING'")
    op.create_index("ix_deliveries_due", "deliveries", ["channel", "webhook_id", "due_at"], postgresql_where=waiting)
    op.create_index("ix_deliveries_webhook_id", "deliveries", ["webhook_id", "created_at"])
    op.create_index("ix_deliveries_created_at", "deliveries", ["created_at"])
    op.create_index(
        "ix_deliveries_ended_at", "deliveries", ["ended_at"], postgresql_where=sa.text("ended_at IS NOT NULL")
    )
