"""Marketplace: programmes and allocations, the ledger with its guards, price lists and quotes."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from guildhall.db import ddl

revision = "0003"
down_revision = "0005"
branch_labels = None
depends_on = None

moment = sa.DateTime(timezone=True)
LEDGER_SQL = Path(__file__).with_name("0003_ledger.sql")
RECORDS = ("accounts", "allocations", "holds", "hold_resolutions", "transfers", "ledger_operations")


def upgrade() -> None:
    """Tables first, then what keeps them whole: the guards must see every row, those of the migration included."""
    create_programmes()
    create_accounts()
    create_holds()
    create_transfers()
    create_prices()
    create_quotes()
    for statement in LEDGER_SQL.read_text(encoding="utf-8").split("\n-- ----\n"):
        op.get_bind().exec_driver_sql(statement)
    for table in RECORDS:
        ddl.append_only(op, table)
    for table in ("accounts", "allocations", "balances", "holds", "hold_resolutions", "ledger_operations"):
        ddl.service_may(op, table, "SELECT")
    ddl.service_may(op, "transfers", "SELECT, INSERT")
    ddl.service_may(op, "quotes", "SELECT, INSERT, UPDATE (accepted_at, job_id)")


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def create_programmes() -> None:
    """programmes, periods."""
    op.create_table(
        "programmes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("strategic_class", sa.String(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.CheckConstraint("name ~ '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$'", name=op.f("ck_programmes_name_is_slug")),
        sa.CheckConstraint("strategic_class IN ('A', 'B', 'C', 'D')", name=op.f("ck_programmes_strategic_class_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_programmes")),
        sa.UniqueConstraint("name", name=op.f("uq_programmes_name")),
    )
    op.create_table(
        "periods",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("starts_at", moment, nullable=False),
        sa.Column("ends_at", moment, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.CheckConstraint("name ~ '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$'", name=op.f("ck_periods_name_is_slug")),
        sa.CheckConstraint("starts_at < ends_at", name=op.f("ck_periods_not_empty")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_periods")),
        sa.UniqueConstraint("name", name=op.f("uq_periods_name")),
    )


def create_accounts() -> None:
    """accounts, allocations, balances."""
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'ALLOCATION') = (id NOT IN ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000004'))",
            name=op.f("ck_accounts_system_accounts_fixed"),
        ),
        sa.CheckConstraint(
            "kind IN ('ALLOCATION', 'TREASURY', 'POOL_REVENUE', 'ROYALTIES', 'EXPIRED')",
            name=op.f("ck_accounts_kind_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "allocations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("programme_id", sa.Uuid(), nullable=False),
        sa.Column("period_id", sa.Uuid()),
        sa.Column("valid_from", moment, nullable=False),
        sa.Column("valid_to", moment, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.CheckConstraint("valid_from < valid_to", name=op.f("ck_allocations_not_empty")),
        sa.ForeignKeyConstraint(["id"], ["accounts.id"], name=op.f("fk_allocations_id_accounts")),
        sa.ForeignKeyConstraint(["period_id"], ["periods.id"], name=op.f("fk_allocations_period_id_periods")),
        sa.ForeignKeyConstraint(
            ["programme_id"], ["programmes.id"], name=op.f("fk_allocations_programme_id_programmes")
        ),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_allocations_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocations")),
    )
    op.create_index("ix_allocations_valid_to", "allocations", ["valid_to"], unique=False)
    op.create_index("ix_allocations_wallet", "allocations", ["team_id", "programme_id", "valid_to"], unique=False)
    op.create_table(
        "balances",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("allocated", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("expired", sa.BigInteger(), nullable=False),
        sa.Column("returned", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.BigInteger(), nullable=False),
        sa.Column(
            "remaining",
            sa.BigInteger(),
            sa.Computed("allocated + received - captured - held - expired - returned - sent", persisted=True),
            nullable=False,
        ),
        sa.CheckConstraint("remaining >= 0", name=op.f("ck_balances_remaining_not_negative")),
        sa.CheckConstraint(
            "least(allocated, received, captured, held, expired, returned, sent) >= 0",
            name=op.f("ck_balances_figures_not_negative"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["allocations.id"], name=op.f("fk_balances_account_id_allocations")),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_balances")),
        postgresql_with={"fillfactor": 40},
    )


def create_holds() -> None:
    """holds, hold_resolutions, ledger_operations."""
    op.create_table(
        "holds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("programme_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("placed_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.CheckConstraint(
            "credits BETWEEN 0 AND 1000000000000000000 AND placed_at < expires_at",
            name=op.f("ck_holds_credits_for_a_time"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index("ix_holds_job_id", "holds", ["job_id"], unique=False)
    op.create_index("ix_holds_team_id", "holds", ["team_id"], unique=False)
    op.create_table(
        "hold_resolutions",
        sa.Column("hold_id", sa.Uuid(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.BigInteger(), nullable=False),
        sa.Column("expired", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("resolved_at", moment, nullable=False),
        sa.CheckConstraint(
            "phase = 'POSTED' OR (phase IN ('VOIDED', 'EXPIRED') AND captured = 0)",
            name=op.f("ck_hold_resolutions_only_posting_captures"),
        ),
        sa.CheckConstraint(
            "captured >= 0 AND expired >= 0 AND expired <= released", name=op.f("ck_hold_resolutions_figures_fit")
        ),
        sa.ForeignKeyConstraint(["hold_id"], ["holds.id"], name=op.f("fk_hold_resolutions_hold_id_holds")),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_hold_resolutions")),
    )
    op.create_table(
        "ledger_operations",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("input_hash", sa.LargeBinary(), nullable=False),
        sa.Column("answer", postgresql.JSONB(), nullable=False),
        sa.Column("occurred_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_ledger_operations")),
    )


def create_transfers() -> None:
    """Transfers."""
    op.create_table(
        "transfers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", moment, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("from_account_id", sa.Uuid(), nullable=False),
        sa.Column("to_account_id", sa.Uuid(), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("pending_id", sa.Uuid()),
        sa.Column("pending_credits", sa.BigInteger()),
        sa.Column("refunds_id", sa.Uuid()),
        sa.Column("hold_id", sa.Uuid()),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("from_version", sa.BigInteger()),
        sa.Column("to_version", sa.BigInteger()),
        sa.CheckConstraint(
            "credits BETWEEN 1 AND 1000000000000000000 AND from_account_id <> to_account_id",
            name=op.f("ck_transfers_credits_between_two_accounts"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
        sa.UniqueConstraint("from_account_id", "from_version", name=op.f("uq_transfers_from_account_id_from_version")),
        sa.UniqueConstraint("pending_id", name=op.f("uq_transfers_pending_id")),
        sa.UniqueConstraint("to_account_id", "to_version", name=op.f("uq_transfers_to_account_id_to_version")),
    )
    op.create_index("ix_transfers_hold_id", "transfers", ["hold_id"], unique=False)
    op.create_index(
        "ix_transfers_refunds_id",
        "transfers",
        ["refunds_id"],
        unique=False,
        postgresql_where=sa.text("refunds_id IS NOT NULL"),
    )


def create_prices() -> None:
    """price_lists, rates."""
    op.create_table(
        "price_lists",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("valid_from", moment, nullable=False),
        sa.Column("valid_to", moment),
        sa.Column("created_at", moment, nullable=False),
        sa.CheckConstraint("name ~ '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$'", name=op.f("ck_price_lists_name_is_slug")),
        sa.CheckConstraint("valid_from < valid_to", name=op.f("ck_price_lists_not_empty")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_lists")),
        sa.UniqueConstraint("name", name=op.f("uq_price_lists_name")),
    )
    op.create_table(
        "rates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("price_list_id", sa.Uuid(), nullable=False),
        sa.Column("pool_id", sa.Uuid(), nullable=False),
        sa.Column("tier", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("days", postgresql.ARRAY(sa.SmallInteger())),
        sa.Column("from_minute", sa.SmallInteger()),
        sa.Column("to_minute", sa.SmallInteger()),
        sa.Column("credits_per_hour", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", moment, nullable=False),
        sa.Column("valid_to", moment),
        sa.CheckConstraint("tier IN ('GUARANTEED', 'STANDARD', 'PREEMPTIBLE')", name=op.f("ck_rates_tier_known")),
        sa.CheckConstraint(
            "(days IS NULL) = (from_minute IS NULL) AND (days IS NULL) = (to_minute IS NULL)",
            name=op.f("ck_rates_hours_whole"),
        ),
        sa.CheckConstraint(
            "credits_per_hour BETWEEN 0 AND 1000000000000000000", name=op.f("ck_rates_credits_in_range")
        ),
        sa.CheckConstraint(
            "days <@ ARRAY[1, 2, 3, 4, 5, 6, 7]::smallint[] AND cardinality(days) > 0",
            name=op.f("ck_rates_days_of_week"),
        ),
        sa.CheckConstraint("from_minute BETWEEN 0 AND 1439", name=op.f("ck_rates_from_minute_of_day")),
        sa.CheckConstraint("to_minute BETWEEN 0 AND 1440", name=op.f("ck_rates_to_minute_of_day")),
        sa.ForeignKeyConstraint(
            ["price_list_id"], ["price_lists.id"], name=op.f("fk_rates_price_list_id_price_lists"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rates")),
        sa.UniqueConstraint(
            "price_list_id", "pool_id", "tier", "position", name=op.f("uq_rates_price_list_id_pool_id_tier_position")
        ),
    )
    op.create_index("ix_rates_pool_id", "rates", ["pool_id"], unique=False)


def create_quotes() -> None:
    """Quotes."""
    op.create_table(
        "quotes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("programme_id", sa.Uuid(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("job", postgresql.JSONB(), nullable=False),
        sa.Column("snapshot", postgresql.JSONB(), nullable=False),
        sa.Column("segments", postgresql.JSONB(), nullable=False),
        sa.Column("estimated_price", sa.BigInteger(), nullable=False),
        sa.Column("hold", sa.BigInteger(), nullable=False),
        sa.Column("predicted_start", moment),
        sa.Column("predicted_energy_watt_hours", sa.BigInteger()),
        sa.Column("start_by", moment, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("eligible_pool_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("excluded", postgresql.JSONB(), nullable=False),
        sa.Column("suggestions", postgresql.JSONB(), nullable=False),
        sa.Column("accepted_at", moment),
        sa.Column("job_id", sa.Uuid()),
        sa.CheckConstraint("(accepted_at IS NULL) = (job_id IS NULL)", name=op.f("ck_quotes_acceptance_whole")),
        sa.CheckConstraint("accepted_at IS NULL OR accepted_at < expires_at", name=op.f("ck_quotes_accepted_in_time")),
        sa.CheckConstraint("created_at < expires_at", name=op.f("ck_quotes_not_empty")),
        sa.CheckConstraint("estimated_price <= hold", name=op.f("ck_quotes_hold_covers_estimate")),
        sa.CheckConstraint(
            "estimated_price BETWEEN 0 AND 1000000000000000000", name=op.f("ck_quotes_estimated_price_in_range")
        ),
        sa.CheckConstraint("hold BETWEEN 0 AND 1000000000000000000", name=op.f("ck_quotes_hold_in_range")),
        sa.ForeignKeyConstraint(["programme_id"], ["programmes.id"], name=op.f("fk_quotes_programme_id_programmes")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_quotes_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quotes")),
        sa.UniqueConstraint("job_id", name=op.f("uq_quotes_job_id")),
    )
    op.create_index("ix_quotes_team_id", "quotes", ["team_id"], unique=False)
