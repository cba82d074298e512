"""Loosening of what model versions inherit, by recorded decisions of stewards; every opening of a run's inputs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from guildhall.db import ddl
from guildhall.db.engine import SERVICE_ROLE

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
TEXTS = postgresql.ARRAY(sa.String())
PROPERTIES = "'CLASSIFICATION', 'PERMITTED_PURPOSES', 'REGIONS', 'RETENTION'"
KINDS = (
    "'JOB_ENDED', 'HOLD_RELEASED', 'ACCESS_ASKED', 'ACCESS_DECIDED', 'ACCESS_WITHDRAWN', 'ACCESS_ENDS', "
    "'ACCESS_ALERT', 'ALLOCATION_ENDS', 'LOOSENING_ASKED', 'LOOSENING_DECIDED', 'LOOSENING_WITHDRAWN'"
)
LOOSENING_CHECKS = (
    ("property", f"property IN ({PROPERTIES})"),
    ("classification_given", "(property = 'CLASSIFICATION') = (classification IS NOT NULL)"),
    ("classification_loose", "classification IN ('PUBLIC', 'INTERNAL', 'CONFIDENTIAL')"),
    ("purposes_given", "(property = 'PERMITTED_PURPOSES') = (coalesce(cardinality(permitted_purposes), 0) > 0)"),
    ("regions_given", "(property = 'REGIONS') = (coalesce(cardinality(regions), 0) > 0)"),
    ("retention_given", "property = 'RETENTION' OR retention_ends_on IS NULL"),
    ("state", "state IN ('PENDING', 'APPROVED', 'REFUSED', 'WITHDRAWN')"),
    ("decided_by_somebody", "(decided_at IS NULL) = (decided_by IS NULL)"),
    ("decided_has_moment", "state NOT IN ('APPROVED', 'REFUSED') OR decided_at IS NOT NULL"),
    ("second_person_decides", "decided_by <> requester_id"),
    (
        "withdrawn_by_somebody",
        "num_nonnulls(withdrawn_at, withdrawn_by, withdrawal_reason) = CASE WHEN state = 'WITHDRAWN' THEN 3 ELSE 0 END",
    ),
    ("has_justification", "btrim(justification) <> ''"),
)


def upgrade() -> None:
    """Nothing is loosened yet; of runs that are there the first opening of an input is known."""
    create_loosenings()
    create_sources()
    create_approvals()
    create_is_no_stricter()
    keep_each_opening()
    op.drop_constraint(op.f("ck_inbox_events_kind_known"), "inbox_events", type_="check")
    op.create_check_constraint(op.f("ck_inbox_events_kind_known"), "inbox_events", f"kind IN ({KINDS})")


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def create_loosenings() -> None:
    people = ("requester_id", "decided_by", "withdrawn_by")
    op.create_table(
        "loosenings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model_version_id", sa.Uuid(), nullable=False),
        sa.Column("property", sa.String(), nullable=False),
        sa.Column("classification", sa.String(), nullable=True),
        sa.Column("permitted_purposes", TEXTS, nullable=True),
        sa.Column("regions", TEXTS, nullable=True),
        sa.Column("retention_ends_on", sa.Date(), nullable=True),
        sa.Column("justification", sa.String(), nullable=False),
        sa.Column("requester_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decision_reason", sa.String(), nullable=True),
        sa.Column("withdrawn_at", MOMENT, nullable=True),
        sa.Column("withdrawn_by", sa.Uuid(), nullable=True),
        sa.Column("withdrawal_reason", sa.String(), nullable=True),
        *(sa.CheckConstraint(condition, name=op.f(f"ck_loosenings_{name}")) for name, condition in LOOSENING_CHECKS),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_loosenings_model_version_id_model_versions")
        ),
        *(sa.ForeignKeyConstraint([name], ["users.id"], name=op.f(f"fk_loosenings_{name}_users")) for name in people),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_loosenings")),
    )
    op.create_index("ix_loosenings_model_version_id", "loosenings", ["model_version_id"])
    op.create_index("ix_loosenings_created_at", "loosenings", ["created_at", "id"])
    op.create_index(op.f("ix_loosenings_requester_id"), "loosenings", ["requester_id"])
    op.create_index(
        "uq_loosenings_pending", "loosenings", ["model_version_id", "property"], unique=True,
        postgresql_where=sa.text("state = 'PENDING'"),
    )  # fmt: skip
    ddl.service_may(op, "loosenings", "SELECT, INSERT")
    columns = "state, decided_at, decided_by, decision_reason, withdrawn_at, withdrawn_by, withdrawal_reason"
    op.execute(f"GRANT UPDATE ({columns}) ON TABLE loosenings TO {SERVICE_ROLE}")


def create_sources() -> None:
    keys = (("loosening_id", "loosenings"), ("dataset_version_id", "dataset_versions"), ("dataset_id", "datasets"))
    op.create_table(
        "loosening_sources",
        *(sa.Column(name, sa.Uuid(), nullable=False) for name, _ in keys),
        sa.Column("classification", sa.String(), nullable=False),
        sa.Column("permitted_purposes", TEXTS, nullable=False),
        sa.Column("regions", TEXTS, nullable=False),
        sa.Column("retention_ends_on", sa.Date(), nullable=True),
        *(
            sa.ForeignKeyConstraint([name], [f"{table}.id"], name=op.f(f"fk_loosening_sources_{name}_{table}"))
            for name, table in keys
        ),
        sa.PrimaryKeyConstraint("loosening_id", "dataset_version_id", name=op.f("pk_loosening_sources")),
    )
    op.create_index(op.f("ix_loosening_sources_dataset_id"), "loosening_sources", ["dataset_id"])
    ddl.append_only(op, "loosening_sources")


def create_approvals() -> None:
    op.create_table(
        "loosening_approvals",
        sa.Column("loosening_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("dataset_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("approved_at", MOMENT, nullable=False),
        sa.CheckConstraint("cardinality(dataset_ids) > 0", name=op.f("ck_loosening_approvals_for_some_data")),
        sa.ForeignKeyConstraint(
            ["loosening_id"], ["loosenings.id"], name=op.f("fk_loosening_approvals_loosening_id_loosenings")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_loosening_approvals_user_id_users")),
        sa.PrimaryKeyConstraint("loosening_id", "user_id", name=op.f("pk_loosening_approvals")),
    )
    op.create_index(op.f("ix_loosening_approvals_user_id"), "loosening_approvals", ["user_id"])
    ddl.append_only(op, "loosening_approvals")


def keep_each_opening() -> None:
    """One for each grant under which an attempt read an input, and one for reading it by role."""
    op.add_column("input_openings", sa.Column("id", sa.Uuid(), nullable=True))
    op.execute("UPDATE input_openings SET id = gen_random_uuid()")
    op.alter_column("input_openings", "id", nullable=False)
    op.drop_constraint(op.f("pk_input_openings"), "input_openings", type_="primary")
    op.create_primary_key(op.f("pk_input_openings"), "input_openings", ["id"])
    op.create_unique_constraint(
        op.f("uq_input_openings_attempt_id_index_access_grant_id"), "input_openings",
        ["attempt_id", "index", "access_grant_id"], postgresql_nulls_not_distinct=True,
    )  # fmt: skip


def create_is_no_stricter() -> None:
    """Whether one legal record is in no respect stricter than another: what a decision about the other covers."""
    op.execute("""
        CREATE FUNCTION is_no_stricter(
            classification text, purposes text[], regions text[], retention date,
            seen_classification text, seen_purposes text[], seen_regions text[], seen_retention date
        ) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
            array_position(ARRAY['PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED'], classification)
                <= array_position(ARRAY['PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED'], seen_classification)
            AND purposes @> seen_purposes
            AND regions @> seen_regions
            AND (retention IS NULL OR coalesce(retention >= seen_retention, false))
    """)
