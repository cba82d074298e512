"""Organisation: the service's role, the outbox, access and audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from guildhall.db import ddl

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The service's role comes first: default privileges count only for what is made after them."""
    ddl.create_service_role(op)
    ddl.create_append_only_function(op)
    create_outbox()
    create_organisation()
    create_policy()
    create_tokens()
    create_audit()
    create_idempotency_keys()


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


SLUG = "^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
MOMENT = sa.DateTime(timezone=True)
SUBJECT_USER = "CASE WHEN subject_kind = 'USER' THEN subject_id END"
SUBJECT_SERVICE_ACCOUNT = "CASE WHEN subject_kind = 'SERVICE_ACCOUNT' THEN subject_id END"


def create_outbox() -> None:
    """guildhall/outbox/tables.py."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("available_at", moment, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String()),
        sa.Column("lease_token", sa.Uuid()),
        sa.Column("lease_expires_at", moment),
        sa.Column("done_at", moment),
        sa.Column("given_up_at", moment),
        sa.Column("last_error", sa.String()),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_outbox_lease_whole")),
        sa.CheckConstraint("(lease_token IS NULL) = (lease_owner IS NULL)", name=op.f("ck_outbox_lease_owned")),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_outbox_attempts_not_negative")),
        sa.CheckConstraint("done_at IS NULL OR given_up_at IS NULL", name=op.f("ck_outbox_ends_once")),
    )
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["topic", "available_at"],
        postgresql_where=sa.text("done_at IS NULL AND given_up_at IS NULL"),
    )


def create_organisation() -> None:
    """guildhall/auth/tables.py: who there is. Nobody is ever deleted, because records point at them."""
    op.create_table(
        "teams",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_teams"),
        sa.UniqueConstraint("name", name="uq_teams_name"),
        sa.CheckConstraint(f"name ~ '{SLUG}'", name=op.f("ck_teams_name_is_slug")),
        sa.CheckConstraint("btrim(title) <> ''", name=op.f("ck_teams_has_title")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("deactivated_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.CheckConstraint(
            "email = lower(email) AND email ~ '^[^@\\s]+@[^@\\s]+$'", name=op.f("ck_users_email_is_address")
        ),
        sa.CheckConstraint("btrim(name) <> ''", name=op.f("ck_users_has_name")),
    )
    op.create_table(
        "service_accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("deactivated_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_service_accounts"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_service_accounts_team_id_teams"),
        sa.UniqueConstraint("team_id", "name", name="uq_service_accounts_team_id_name"),
        sa.CheckConstraint(f"name ~ '{SLUG}'", name=op.f("ck_service_accounts_name_is_slug")),
    )
    for table in ("teams", "users", "service_accounts"):
        ddl.service_may(op, table, "SELECT, INSERT, UPDATE")


def create_policy() -> None:
    """guildhall/auth/tables.py: roles and who has them, the number of the policy in force, and who raises it."""
    op.create_table(
        "roles",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_roles"),
    )
    op.create_table(
        "permissions",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("permission_class", sa.String(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_permissions"),
    )
    op.create_table(
        "role_permissions",
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("permission", sa.String(), nullable=False),
        sa.Column("effect", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("role", "permission", name="pk_role_permissions"),
        sa.ForeignKeyConstraint(["role"], ["roles.name"], name="fk_role_permissions_role_roles"),
        sa.ForeignKeyConstraint(
            ["permission"], ["permissions.name"], name="fk_role_permissions_permission_permissions"
        ),
        sa.CheckConstraint("effect IN ('allow', 'deny')", name=op.f("ck_role_permissions_effect")),
    )
    op.create_table(
        "role_bindings",
        sa.Column("id", sa.Uuid(), nullable=False),
        *subject_columns("role_bindings"),
        sa.Column("team_id", sa.Uuid()),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.PrimaryKeyConstraint("id", name="pk_role_bindings"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_role_bindings_team_id_teams"),
        sa.ForeignKeyConstraint(["role"], ["roles.name"], name="fk_role_bindings_role_roles"),
        sa.UniqueConstraint(
            "subject_id", "subject_kind", "team_id", "role",
            name="uq_role_bindings_subject_id_subject_kind_team_id_role", postgresql_nulls_not_distinct=True,
        ),
        sa.CheckConstraint("subject_kind IN ('USER', 'SERVICE_ACCOUNT')", name=op.f("ck_role_bindings_subject_kind")),
        sa.CheckConstraint(
            "role NOT IN ('member', 'job')", name=op.f("ck_role_bindings_implicit_roles_are_not_bound")
        ),
    )  # fmt: skip
    op.create_index("ix_role_bindings_team_id", "role_bindings", ["team_id"])
    op.create_table(
        "policy_state",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_policy_state"),
        sa.CheckConstraint("id = 1", name=op.f("ck_policy_state_one_row")),
    )
    op.execute("INSERT INTO policy_state (id, version) VALUES (1, 1)")
    ddl.service_may(op, "policy_state", "SELECT")
    create_policy_triggers()


def create_policy_triggers() -> None:
    """Each change of what decisions rest on raises the version, which only these triggers can, and is told to all.

    The one row that they update makes changes of the policy wait for each other until commit: versions never overtake.
    """
    op.execute("""
        CREATE FUNCTION guildhall_policy_changed() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
        DECLARE changed bigint;
        BEGIN
            UPDATE public.policy_state SET version = version + 1 RETURNING version INTO changed;
            PERFORM pg_notify('guildhall_policy', changed::text);
            RETURN NULL;
        END $$
    """)
    for table in ("teams", "users", "service_accounts", "role_permissions", "role_bindings"):
        op.execute(f"""
            CREATE TRIGGER {table}_policy_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION guildhall_policy_changed()
        """)
    # Deferred, so that one transaction can hand the role over; safe between two, because they wait for each other above.
    op.execute("""
        CREATE FUNCTION guildhall_keep_an_administrator() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_TABLE_NAME = 'users' AND NOT EXISTS (
                SELECT FROM public.role_bindings b
                WHERE b.user_id = OLD.id AND b.role = 'administrator' AND b.team_id IS NULL
            ) THEN
                RETURN NULL;
            END IF;
            IF NOT EXISTS (
                SELECT FROM public.role_bindings b JOIN public.users u ON u.id = b.user_id
                WHERE b.role = 'administrator' AND b.team_id IS NULL AND u.deactivated_at IS NULL
            ) THEN
                RAISE EXCEPTION 'the last administrator cannot be removed'
                    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'last_administrator';
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE CONSTRAINT TRIGGER role_bindings_keep_an_administrator AFTER UPDATE OR DELETE ON role_bindings
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.role = 'administrator' AND OLD.team_id IS NULL)
        EXECUTE FUNCTION guildhall_keep_an_administrator()
    """)
    op.execute("""
        CREATE CONSTRAINT TRIGGER users_keep_an_administrator AFTER UPDATE ON users
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (OLD.deactivated_at IS NULL AND NEW.deactivated_at IS NOT NULL)
        EXECUTE FUNCTION guildhall_keep_an_administrator()
    """)


def subject_columns(table: str) -> list[sa.schema.SchemaItem]:
    """A subject by kind and id, and the id once more for each kind that a foreign key can check."""
    return [
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), sa.Computed(SUBJECT_USER, persisted=True)),
        sa.Column("service_account_id", sa.Uuid(), sa.Computed(SUBJECT_SERVICE_ACCOUNT, persisted=True)),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=f"fk_{table}_user_id_users"),
        sa.ForeignKeyConstraint(
            ["service_account_id"], ["service_accounts.id"], name=f"fk_{table}_service_account_id_service_accounts"
        ),
    ]


def create_tokens() -> None:
    """guildhall/auth/tables.py: secrets that stand for callers, as hashes."""
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        *subject_columns("tokens"),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("claims", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.Column("revoked_at", MOMENT),
        sa.Column("last_used_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("hash", name="uq_tokens_hash"),
        sa.CheckConstraint("subject_kind IN ('USER', 'SERVICE_ACCOUNT', 'JOB')", name=op.f("ck_tokens_subject_kind")),
        sa.CheckConstraint("octet_length(hash) = 32", name=op.f("ck_tokens_hash_is_sha256")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_tokens_expires_after_creation")),
        sa.CheckConstraint("subject_kind <> 'JOB' OR expires_at IS NOT NULL", name=op.f("ck_tokens_job_token_expires")),
    )
    op.create_index("ix_tokens_subject_id", "tokens", ["subject_id"], postgresql_where=sa.text("revoked_at IS NULL"))
    ddl.service_may(op, "tokens", "SELECT, INSERT, UPDATE")


def create_audit() -> None:
    """guildhall/audit/tables.py: the record, which is added to and never changed."""
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=False),
        sa.Column("actor_kind", sa.String(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=False),
        sa.Column("on_behalf_of_id", sa.Uuid()),
        sa.Column("team_id", sa.Uuid()),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("permission_class", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("resource_types", sa.ARRAY(sa.String()), nullable=False),
        sa.Column("resource_ids", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("purpose", sa.String()),
        sa.Column("justification", sa.String()),
        sa.Column("access_grant_id", sa.Uuid()),
        sa.Column("reason_code", sa.String()),
        sa.Column("reason_message", sa.String()),
        sa.Column("request_id", sa.String()),
        sa.Column("address", sa.String()),
        sa.Column("client", sa.String()),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("bytes", sa.BigInteger()),
        sa.Column("before", postgresql.JSONB()),
        sa.Column("after", postgresql.JSONB()),
        sa.Column("concludes_id", sa.Uuid()),
        sa.Column("mac_key", sa.String(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
        sa.ForeignKeyConstraint(
            ["concludes_id"], ["audit_events.id"], name="fk_audit_events_concludes_id_audit_events"
        ),
        sa.UniqueConstraint("concludes_id", name="uq_audit_events_concludes_id"),
        *audit_checks(),
    )
    op.create_index("ix_audit_events_occurred_at_id", "audit_events", ["occurred_at", "id"])
    op.create_index("ix_audit_events_actor_id_occurred_at", "audit_events", ["actor_id", "occurred_at"])
    op.create_index("ix_audit_events_resource_ids", "audit_events", ["resource_ids"], postgresql_using="gin")
    ddl.append_only(op, "audit_events")


def audit_checks() -> list[sa.CheckConstraint]:
    """The words that an event may use, and how its parts fit together."""
    return [
        sa.CheckConstraint(condition, name=op.f(f"ck_audit_events_{name}"))
        for name, condition in {
            "actor_kind": "actor_kind IN ('USER', 'SERVICE_ACCOUNT', 'JOB', 'SYSTEM')",
            "permission_class": "permission_class IN ('ADMIN_READ', 'ADMIN_WRITE', 'DATA_READ', 'DATA_WRITE')",
            "outcome": "outcome IN ('ALLOWED', 'REFUSED', 'STARTED', 'COMPLETED', 'ABORTED')",
            "resources_in_pairs": "cardinality(resource_types) = cardinality(resource_ids)",
            "outcome_concludes": "(outcome IN ('COMPLETED', 'ABORTED')) = (concludes_id IS NOT NULL)",
            "counts_not_negative": "rows >= 0 AND bytes >= 0",
            "mac_is_whole": "octet_length(mac) = 32",
        }.items()
    ]


def create_idempotency_keys() -> None:
    """guildhall/graphql/tables.py: the first answers of mutations that were called with a key."""
    op.create_table(
        "idempotency_keys",
        sa.Column("actor_id", sa.Uuid(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("input_hash", sa.LargeBinary(), nullable=False),
        sa.Column("answer", postgresql.JSONB()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("actor_id", "operation", "key", name="pk_idempotency_keys"),
        sa.CheckConstraint("char_length(key) BETWEEN 1 AND 200", name=op.f("ck_idempotency_keys_key_length")),
        sa.CheckConstraint("octet_length(input_hash) = 32", name=op.f("ck_idempotency_keys_input_hash_is_sha256")),
    )
