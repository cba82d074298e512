"""Registry: purposes, data sets, packages, files and their parts, access requests and access grants."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from guildhall.db import ddl
from guildhall.db.engine import SERVICE_ROLE

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tables in the order of their foreign keys, then what the service may do with the rows that are decisions."""
    create_purposes()
    create_datasets()
    create_dataset_stewards()
    create_dataset_versions()
    create_packages()
    create_artifacts()
    create_artifact_parts()
    create_access_requests()
    create_access_request_resources()
    create_access_request_sources()
    create_access_grants()
    create_access_grant_resources()
    guard_decisions()


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def guard_decisions() -> None:
    """A request is decided and a grant withdrawn; nothing else about them changes, and neither is ever deleted."""
    for table in ("access_requests", "access_grants"):
        ddl.service_may(op, table, "SELECT, INSERT")
    for table in ("access_request_resources", "access_request_sources", "access_grant_resources"):
        ddl.append_only(op, table)
    decision = "state, decided_at, decided_by, decision_reason"
    op.execute(f"GRANT UPDATE ({decision}) ON TABLE access_requests TO {SERVICE_ROLE}")
    withdrawal = "withdrawn_at, withdrawn_by, withdrawal_reason"
    op.execute(f"GRANT UPDATE ({withdrawal}) ON TABLE access_grants TO {SERVICE_ROLE}")
    op.execute("""
        CREATE FUNCTION registry_refuse_second_decision() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'access request % is decided already', OLD.id
                USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = 'access_requests_decided_once';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER access_requests_decided_once BEFORE UPDATE ON access_requests
        FOR EACH ROW WHEN (OLD.state <> 'PENDING') EXECUTE FUNCTION registry_refuse_second_decision()
    """)
    op.execute("""
        CREATE FUNCTION registry_refuse_second_withdrawal() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'access grant % is withdrawn already', OLD.id
                USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = 'access_grants_withdrawn_once';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER access_grants_withdrawn_once BEFORE UPDATE ON access_grants
        FOR EACH ROW WHEN (OLD.withdrawn_at IS NOT NULL) EXECUTE FUNCTION registry_refuse_second_withdrawal()
    """)


def create_purposes() -> None:
    op.create_table(
        "purposes",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("name ~ '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$'", name=op.f("ck_purposes_name_is_slug")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_purposes")),
    )


def create_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("visibility", sa.String(), nullable=False),
        sa.Column("classification", sa.String(), nullable=False),
        sa.Column("licence", sa.String(), nullable=False),
        sa.Column("legal_basis", sa.String(), nullable=False),
        sa.Column("consent", sa.String(), nullable=True),
        sa.Column("permitted_purposes", sa.ARRAY(sa.String()), nullable=False),
        sa.Column("retention_ends_on", sa.Date(), nullable=True),
        sa.Column("regions", sa.ARRAY(sa.String()), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "classification IN ('PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED')",
            name=op.f("ck_datasets_classification"),
        ),
        sa.CheckConstraint("name ~ '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$'", name=op.f("ck_datasets_name_is_slug")),
        sa.CheckConstraint("visibility IN ('TEAM', 'ORGANISATION')", name=op.f("ck_datasets_visibility")),
        sa.CheckConstraint("cardinality(permitted_purposes) > 0", name=op.f("ck_datasets_some_purpose")),
        sa.CheckConstraint("cardinality(regions) > 0", name=op.f("ck_datasets_some_region")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_datasets_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("team_id", "name", name=op.f("uq_datasets_team_id_name")),
    )


def create_dataset_stewards() -> None:
    op.create_table(
        "dataset_stewards",
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("added_by", sa.Uuid(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_dataset_stewards_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_dataset_stewards_user_id_users")),
        sa.PrimaryKeyConstraint("dataset_id", "user_id", name=op.f("pk_dataset_stewards")),
    )
    op.create_index(op.f("ix_dataset_stewards_user_id"), "dataset_stewards", ["user_id"], unique=False)


def create_dataset_versions() -> None:
    op.create_table(
        "dataset_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("columns", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'READY') = (ready_at IS NOT NULL)", name=op.f("ck_dataset_versions_ready_has_moment")
        ),
        sa.CheckConstraint("jsonb_typeof(columns) = 'array'", name=op.f("ck_dataset_versions_columns_are_a_list")),
        sa.CheckConstraint("state IN ('DRAFT', 'READY')", name=op.f("ck_dataset_versions_state")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_dataset_versions_number_from_one")),
        sa.CheckConstraint("rows IS NULL OR rows >= 0", name=op.f("ck_dataset_versions_rows_not_negative")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_dataset_versions_dataset_id_datasets")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset_versions")),
        sa.UniqueConstraint("dataset_id", "number", name=op.f("uq_dataset_versions_dataset_id_number")),
    )


def create_packages() -> None:
    op.create_table(
        "packages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'READY') = (ready_at IS NOT NULL)", name=op.f("ck_packages_ready_has_moment")),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_packages_sha256_is_hexadecimal")),
        sa.CheckConstraint("state IN ('DRAFT', 'READY')", name=op.f("ck_packages_state")),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_packages_size_not_negative")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_packages_team_id_teams")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packages")),
    )
    op.create_index(op.f("ix_packages_team_id"), "packages", ["team_id"], unique=False)


def create_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_kind", sa.String(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'STORED') = (stored_at IS NOT NULL)", name=op.f("ck_artifacts_stored_has_moment")),
        sa.CheckConstraint(
            "owner_kind IN ('DATASET_VERSION', 'MODEL_VERSION', 'PACKAGE')", name=op.f("ck_artifacts_owner_kind")
        ),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_artifacts_sha256_is_hexadecimal")),
        sa.CheckConstraint("state IN ('PENDING', 'STORED')", name=op.f("ck_artifacts_state")),
        sa.CheckConstraint("octet_length(path) BETWEEN 1 AND 1024", name=op.f("ck_artifacts_path_length")),
        sa.CheckConstraint("rows IS NULL OR rows >= 0", name=op.f("ck_artifacts_rows_not_negative")),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_artifacts_size_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
        sa.UniqueConstraint("owner_kind", "owner_id", "path", name=op.f("uq_artifacts_owner_kind_owner_id_path")),
    )
    op.create_index(
        "ix_artifacts_pending", "artifacts", ["created_at"], unique=False, postgresql_where=sa.text("state = 'PENDING'")
    )
    op.create_index("ix_artifacts_sha256", "artifacts", ["sha256"], unique=False)


def create_artifact_parts() -> None:
    op.create_table(
        "artifact_parts",
        sa.Column("artifact_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("storage_key", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_artifact_parts_sha256_is_hexadecimal")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_artifact_parts_number_from_one")),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_artifact_parts_size_not_negative")),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_artifact_parts_artifact_id_artifacts")
        ),
        sa.PrimaryKeyConstraint("artifact_id", "number", name=op.f("pk_artifact_parts")),
        sa.UniqueConstraint("storage_key", name=op.f("uq_artifact_parts_storage_key")),
    )


def create_access_requests() -> None:
    op.create_table(
        "access_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("basis", sa.String(), nullable=False),
        sa.Column("requester_id", sa.Uuid(), nullable=False),
        sa.Column("beneficiary_team_id", sa.Uuid(), nullable=True),
        sa.Column("beneficiary_user_id", sa.Uuid(), nullable=True),
        sa.Column("purpose", sa.String(), nullable=True),
        sa.Column("justification", sa.String(), nullable=False),
        sa.Column("duration_seconds", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decision_reason", sa.String(), nullable=True),
        sa.CheckConstraint(
            "(state = 'PENDING') = (decided_at IS NULL)", name=op.f("ck_access_requests_decided_has_moment")
        ),
        sa.CheckConstraint("basis IN ('REQUEST', 'OWNERSHIP')", name=op.f("ck_access_requests_basis")),
        sa.CheckConstraint("btrim(justification) <> ''", name=op.f("ck_access_requests_has_justification")),
        sa.CheckConstraint(
            "purpose IS NOT NULL OR basis = 'OWNERSHIP'", name=op.f("ck_access_requests_names_a_purpose")
        ),
        sa.CheckConstraint("state IN ('PENDING', 'APPROVED', 'REFUSED')", name=op.f("ck_access_requests_state")),
        sa.CheckConstraint(
            "(decided_at IS NULL) = (decided_by IS NULL)", name=op.f("ck_access_requests_decided_has_person")
        ),
        sa.CheckConstraint("decided_by <> requester_id", name=op.f("ck_access_requests_second_person_decides")),
        sa.CheckConstraint("duration_seconds > 0", name=op.f("ck_access_requests_duration_positive")),
        sa.CheckConstraint(
            "num_nonnulls(beneficiary_team_id, beneficiary_user_id) = 1",
            name=op.f("ck_access_requests_one_beneficiary"),
        ),
        sa.ForeignKeyConstraint(
            ["beneficiary_team_id"], ["teams.id"], name=op.f("fk_access_requests_beneficiary_team_id_teams")
        ),
        sa.ForeignKeyConstraint(
            ["beneficiary_user_id"], ["users.id"], name=op.f("fk_access_requests_beneficiary_user_id_users")
        ),
        sa.ForeignKeyConstraint(["decided_by"], ["users.id"], name=op.f("fk_access_requests_decided_by_users")),
        sa.ForeignKeyConstraint(["purpose"], ["purposes.name"], name=op.f("fk_access_requests_purpose_purposes")),
        sa.ForeignKeyConstraint(["requester_id"], ["users.id"], name=op.f("fk_access_requests_requester_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_requests")),
    )
    op.create_index(
        op.f("ix_access_requests_beneficiary_team_id"), "access_requests", ["beneficiary_team_id"], unique=False
    )
    op.create_index(
        op.f("ix_access_requests_beneficiary_user_id"), "access_requests", ["beneficiary_user_id"], unique=False
    )
    op.create_index(op.f("ix_access_requests_requester_id"), "access_requests", ["requester_id"], unique=False)
    op.create_index("ix_access_requests_state_created_at", "access_requests", ["state", "created_at"], unique=False)


def create_access_request_resources() -> None:
    op.create_table(
        "access_request_resources",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("resource_kind", sa.String(), nullable=False),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "resource_kind IN ('DATASET', 'DATASET_VERSION', 'MODEL_VERSION')",
            name=op.f("ck_access_request_resources_resource_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["access_requests.id"], name=op.f("fk_access_request_resources_request_id_access_requests")
        ),
        sa.PrimaryKeyConstraint("request_id", "resource_kind", "resource_id", name=op.f("pk_access_request_resources")),
    )
    op.create_index(
        op.f("ix_access_request_resources_resource_id"), "access_request_resources", ["resource_id"], unique=False
    )


def create_access_request_sources() -> None:
    op.create_table(
        "access_request_sources",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_access_request_sources_dataset_id_datasets")
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["access_requests.id"], name=op.f("fk_access_request_sources_request_id_access_requests")
        ),
        sa.PrimaryKeyConstraint("request_id", "dataset_id", name=op.f("pk_access_request_sources")),
    )
    op.create_index(
        op.f("ix_access_request_sources_dataset_id"), "access_request_sources", ["dataset_id"], unique=False
    )


def create_access_grants() -> None:
    op.create_table(
        "access_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("basis", sa.String(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("beneficiary_team_id", sa.Uuid(), nullable=True),
        sa.Column("beneficiary_user_id", sa.Uuid(), nullable=True),
        sa.Column("purpose", sa.String(), nullable=True),
        sa.Column("justification", sa.String(), nullable=False),
        sa.Column("columns", sa.ARRAY(sa.String()), nullable=True),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_by", sa.Uuid(), nullable=True),
        sa.Column("withdrawal_reason", sa.String(), nullable=True),
        sa.CheckConstraint("basis IN ('REQUEST', 'OWNERSHIP')", name=op.f("ck_access_grants_basis")),
        sa.CheckConstraint("purpose IS NOT NULL OR basis = 'OWNERSHIP'", name=op.f("ck_access_grants_names_a_purpose")),
        sa.CheckConstraint(
            "request_id IS NOT NULL OR basis = 'OWNERSHIP'", name=op.f("ck_access_grants_comes_from_request")
        ),
        sa.CheckConstraint(
            "(request_id IS NULL) = (approved_by IS NULL)", name=op.f("ck_access_grants_approved_with_request")
        ),
        sa.CheckConstraint(
            "(withdrawn_at IS NULL) = (withdrawn_by IS NULL)", name=op.f("ck_access_grants_withdrawn_by_somebody")
        ),
        sa.CheckConstraint("columns IS NULL OR cardinality(columns) > 0", name=op.f("ck_access_grants_some_column")),
        sa.CheckConstraint(
            "num_nonnulls(beneficiary_team_id, beneficiary_user_id) = 1", name=op.f("ck_access_grants_one_beneficiary")
        ),
        sa.CheckConstraint("valid_from < valid_to", name=op.f("ck_access_grants_ends_after_start")),
        sa.ForeignKeyConstraint(["approved_by"], ["users.id"], name=op.f("fk_access_grants_approved_by_users")),
        sa.ForeignKeyConstraint(
            ["beneficiary_team_id"], ["teams.id"], name=op.f("fk_access_grants_beneficiary_team_id_teams")
        ),
        sa.ForeignKeyConstraint(
            ["beneficiary_user_id"], ["users.id"], name=op.f("fk_access_grants_beneficiary_user_id_users")
        ),
        sa.ForeignKeyConstraint(["purpose"], ["purposes.name"], name=op.f("fk_access_grants_purpose_purposes")),
        sa.ForeignKeyConstraint(
            ["request_id"], ["access_requests.id"], name=op.f("fk_access_grants_request_id_access_requests")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_grants")),
        sa.UniqueConstraint("request_id", name=op.f("uq_access_grants_request_id")),
    )
    op.create_index(
        op.f("ix_access_grants_beneficiary_team_id"), "access_grants", ["beneficiary_team_id"], unique=False
    )
    op.create_index(
        op.f("ix_access_grants_beneficiary_user_id"), "access_grants", ["beneficiary_user_id"], unique=False
    )


def create_access_grant_resources() -> None:
    op.create_table(
        "access_grant_resources",
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("resource_kind", sa.String(), nullable=False),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "resource_kind IN ('DATASET', 'DATASET_VERSION', 'MODEL_VERSION')",
            name=op.f("ck_access_grant_resources_resource_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["access_grants.id"], name=op.f("fk_access_grant_resources_grant_id_access_grants")
        ),
        sa.PrimaryKeyConstraint("grant_id", "resource_kind", "resource_id", name=op.f("pk_access_grant_resources")),
    )
    op.create_index(
        op.f("ix_access_grant_resources_resource_id"), "access_grant_resources", ["resource_id"], unique=False
    )
