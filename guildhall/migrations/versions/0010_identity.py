"""Identity: people of an issuer, its groups, browser sessions; tokens narrowed to roles and networks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from guildhall.db import ddl

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    extend_bindings()
    extend_tokens()
    create_identities()
    create_sessions()


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def extend_bindings() -> None:
    """A role by hand and the same role by a group are two bindings."""
    op.add_column("role_bindings", sa.Column("source", sa.String(), nullable=False, server_default=sa.text("'HAND'")))
    op.create_check_constraint(op.f("ck_role_bindings_source"), "role_bindings", "source IN ('HAND', 'GROUP')")
    op.drop_constraint("uq_role_bindings_subject_id_subject_kind_team_id_role", "role_bindings")
    op.create_unique_constraint(
        "uq_role_bindings_subject_id_subject_kind_team_id_role_source",
        "role_bindings",
        ["subject_id", "subject_kind", "team_id", "role", "source"],
        postgresql_nulls_not_distinct=True,
    )


def extend_tokens() -> None:
    """What a token is narrowed to, and where it comes from; those of sign-ins that ended are swept away."""
    op.add_column("tokens", sa.Column("origin", sa.String(), nullable=False, server_default=sa.text("'GUILDHALL'")))
    op.add_column("tokens", sa.Column("roles", postgresql.ARRAY(sa.String())))
    op.add_column("tokens", sa.Column("networks", postgresql.ARRAY(sa.String())))
    for name, condition in {
        "origin": "origin IN ('GUILDHALL', 'ISSUER', 'BROWSER')",
        "origin_of_people": "origin = 'GUILDHALL' OR subject_kind = 'USER'",
        "sign_in_expires": "origin = 'GUILDHALL' OR expires_at IS NOT NULL",
    }.items():
        op.create_check_constraint(op.f(f"ck_tokens_{name}"), "tokens", condition)
    ddl.service_may(op, "tokens", "SELECT, INSERT, UPDATE, DELETE")


def create_identities() -> None:
    """guildhall/auth/tables.py: who people are to the issuer, and what its groups are here."""
    op.create_table(
        "user_identities",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("groups", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("groups_as_of", MOMENT, nullable=False),
        sa.Column("signed_out_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_user_identities"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_user_identities_user_id_users"),
        sa.UniqueConstraint("issuer", "subject", name="uq_user_identities_issuer_subject"),
        sa.UniqueConstraint("user_id", "issuer", name="uq_user_identities_user_id_issuer"),
    )
    op.create_table(
        "group_mappings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("group_name", sa.String(), nullable=False),
        sa.Column("team_id", sa.Uuid()),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Uuid()),
        sa.PrimaryKeyConstraint("id", name="pk_group_mappings"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_group_mappings_team_id_teams"),
        sa.ForeignKeyConstraint(["role"], ["roles.name"], name="fk_group_mappings_role_roles"),
        sa.UniqueConstraint(
            "group_name", "team_id", "role",
            name="uq_group_mappings_group_name_team_id_role", postgresql_nulls_not_distinct=True,
        ),
        sa.CheckConstraint("btrim(group_name) <> ''", name=op.f("ck_group_mappings_has_group")),
        sa.CheckConstraint(
            "role NOT IN ('member', 'job')", name=op.f("ck_group_mappings_implicit_roles_are_not_mapped")
        ),
    )  # fmt: skip
    op.create_index("ix_group_mappings_team_id", "group_mappings", ["team_id"])


def create_sessions() -> None:
    """guildhall/auth/tables.py: people signed in with a browser."""
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("address", sa.String()),
        sa.Column("client", sa.String()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("idle_seconds", sa.Integer(), nullable=False),
        sa.Column("fresh_until", MOMENT, nullable=False),
        sa.Column("refreshing_until", MOMENT),
        sa.Column("refresh_key", sa.String()),
        sa.Column("refresh_nonce", sa.LargeBinary()),
        sa.Column("refresh_token", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["id"], ["tokens.id"], name="fk_sessions_id_tokens", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sessions_user_id_users"),
        sa.CheckConstraint("idle_seconds > 0", name=op.f("ck_sessions_idle_seconds_positive")),
        sa.CheckConstraint("ends_at > created_at", name=op.f("ck_sessions_ends_after_creation")),
        sa.CheckConstraint(
            "num_nonnulls(refresh_key, refresh_nonce, refresh_token) IN (0, 3)",
            name=op.f("ck_sessions_refresh_token_whole"),
        ),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
