"""Registry: narrowed access grants, approvals by several people, reviewers, what filters cut out, budgets for reading."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from guildhall.db import ddl
from guildhall.db.engine import SERVICE_ROLE

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

SCOPES = "scope IN ('PERSON', 'TEAM', 'DATASET')"
ACTIONS = "action IN ('WARN', 'DELAY', 'BLOCK')"


def upgrade() -> None:
    """Grants that are there have no sample."""
    narrow_grants()
    add_withdrawal_policy()
    create_risk_reviewers()
    create_access_approvals()
    create_filtered_files()
    create_read_budgets()
    create_read_counters()
    create_access_alerts()


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def narrow_grants() -> None:
    op.add_column("access_grants", sa.Column("first_rows", sa.BigInteger(), nullable=True))
    op.add_column("access_grants", sa.Column("sample_millionths", sa.Integer(), nullable=True))
    for name, condition in (
        ("one_sample", "num_nonnulls(first_rows, sample_millionths) <= 1"),
        ("some_rows", "first_rows > 0"),
        ("a_fraction", "sample_millionths BETWEEN 1 AND 999999"),
    ):
        op.create_check_constraint(op.f(f"ck_access_grants_{name}"), "access_grants", condition)
    op.create_index("ix_access_grants_valid_to", "access_grants", ["valid_to"], unique=False)


def add_withdrawal_policy() -> None:
    """Until its stewards say otherwise, a data set's end of access stops what runs."""
    column = sa.Column("withdrawal_policy", sa.String(), nullable=False, server_default="STOP")
    op.add_column("datasets", column)
    op.alter_column("datasets", "withdrawal_policy", server_default=None)
    condition = "withdrawal_policy IN ('STOP', 'FLAG')"
    op.create_check_constraint(op.f("ck_datasets_withdrawal_policy"), "datasets", condition)


def create_risk_reviewers() -> None:
    op.create_table(
        "risk_reviewers",
        sa.Column("risk_tier", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("added_by", sa.Uuid(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("risk_tier IN ('LOW', 'LIMITED', 'HIGH')", name=op.f("ck_risk_reviewers_risk_tier")),
        sa.CheckConstraint("subject IN ('ETHICS', 'DOMAIN')", name=op.f("ck_risk_reviewers_subject")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_risk_reviewers_user_id_users")),
        sa.PrimaryKeyConstraint("risk_tier", "subject", "user_id", name=op.f("pk_risk_reviewers")),
    )
    op.create_index(op.f("ix_risk_reviewers_user_id"), "risk_reviewers", ["user_id"], unique=False)


def create_access_approvals() -> None:
    op.create_table(
        "access_approvals",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("capacity", sa.String(), nullable=False),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("duration_seconds", sa.BigInteger(), nullable=False),
        sa.Column("resource_kinds", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("resource_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("columns", postgresql.ARRAY(sa.String()), nullable=True),
        sa.Column("first_rows", sa.BigInteger(), nullable=True),
        sa.Column("sample_millionths", sa.Integer(), nullable=True),
        sa.CheckConstraint("capacity IN ('STEWARD', 'REVIEWER')", name=op.f("ck_access_approvals_capacity")),
        sa.ForeignKeyConstraint(
            ["request_id"], ["access_requests.id"], name=op.f("fk_access_approvals_request_id_access_requests")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_access_approvals_user_id_users")),
        sa.PrimaryKeyConstraint("request_id", "user_id", name=op.f("pk_access_approvals")),
    )
    op.create_index(op.f("ix_access_approvals_user_id"), "access_approvals", ["user_id"], unique=False)
    ddl.append_only(op, "access_approvals")


def create_filtered_files() -> None:
    op.create_table(
        "filtered_files",
        sa.Column("artifact_id", sa.Uuid(), nullable=False),
        sa.Column("filter_digest", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_filtered_files_size_not_negative")),
        sa.CheckConstraint("rows >= 0", name=op.f("ck_filtered_files_rows_not_negative")),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_filtered_files_sha256_is_hexadecimal")),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_filtered_files_artifact_id_artifacts")
        ),
        sa.PrimaryKeyConstraint("artifact_id", "filter_digest", name=op.f("pk_filtered_files")),
    )


def create_read_budgets() -> None:
    op.create_table(
        "read_budgets",
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("window_seconds", sa.Integer(), nullable=False),
        sa.Column("rows_max", sa.BigInteger(), nullable=True),
        sa.Column("bytes_max", sa.BigInteger(), nullable=True),
        sa.Column("habit_factor", sa.Integer(), nullable=True),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("delay_seconds", sa.Integer(), nullable=False),
        sa.Column("set_by", sa.Uuid(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(SCOPES, name=op.f("ck_read_budgets_scope")),
        sa.CheckConstraint(ACTIONS, name=op.f("ck_read_budgets_action")),
        sa.CheckConstraint(
            "window_seconds BETWEEN 60 AND 2678400", name=op.f("ck_read_budgets_window_a_minute_to_a_month")
        ),
        sa.CheckConstraint("rows_max > 0", name=op.f("ck_read_budgets_rows_positive")),
        sa.CheckConstraint("bytes_max > 0", name=op.f("ck_read_budgets_bytes_positive")),
        sa.CheckConstraint("habit_factor BETWEEN 2 AND 1000", name=op.f("ck_read_budgets_factor_in_bounds")),
        sa.CheckConstraint("delay_seconds BETWEEN 0 AND 86400", name=op.f("ck_read_budgets_delay_at_most_a_day")),
        sa.CheckConstraint(
            "(action = 'DELAY') = (delay_seconds > 0)", name=op.f("ck_read_budgets_delay_where_delayed")
        ),
        sa.CheckConstraint(
            "num_nonnulls(rows_max, bytes_max, habit_factor) > 0", name=op.f("ck_read_budgets_some_limit")
        ),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_read_budgets_dataset_id_datasets")),
        sa.PrimaryKeyConstraint("dataset_id", "scope", name=op.f("pk_read_budgets")),
    )


def create_read_counters() -> None:
    op.create_table(
        "read_counters",
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("window_seconds", sa.Integer(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(SCOPES, name=op.f("ck_read_counters_scope")),
        sa.CheckConstraint("rows >= 0 AND bytes >= 0", name=op.f("ck_read_counters_counts_not_negative")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_read_counters_dataset_id_datasets")),
        sa.PrimaryKeyConstraint(
            "dataset_id", "scope", "subject_id", "window_seconds", "window_start", name=op.f("pk_read_counters")
        ),
    )


def create_access_alerts() -> None:
    op.create_table(
        "access_alerts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("window_seconds", sa.Integer(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("team_id", sa.Uuid(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delayed_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(SCOPES, name=op.f("ck_access_alerts_scope")),
        sa.CheckConstraint(ACTIONS, name=op.f("ck_access_alerts_action")),
        sa.CheckConstraint(
            "(action = 'DELAY') = (delayed_until IS NOT NULL)", name=op.f("ck_access_alerts_delayed_until_a_moment")
        ),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_access_alerts_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_access_alerts_user_id_users")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_access_alerts_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_alerts")),
        sa.UniqueConstraint(
            "dataset_id",
            "scope",
            "subject_id",
            "window_seconds",
            "window_start",
            "action",
            name="one_for_each_window",
        ),
    )
    op.create_index("ix_access_alerts_raised_at", "access_alerts", ["raised_at"], unique=False)
    ddl.service_may(op, "access_alerts", "SELECT, INSERT")
    op.execute(f"GRANT UPDATE (rows, bytes, message) ON TABLE access_alerts TO {SERVICE_ROLE}")
