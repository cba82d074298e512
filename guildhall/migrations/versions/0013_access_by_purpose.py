"""Registry: narrowed access grants, approvals by several people, reviewers by risk tier, and what filters cut out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from guildhall.db import ddl

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Grants that are there have no sample."""
    narrow_grants()
    create_risk_reviewers()
    create_access_approvals()
    create_filtered_files()


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
