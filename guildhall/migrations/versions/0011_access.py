"""Access: a tree of teams, temporary roles, custom roles, roles taken in an emergency; what each version changed."""

import sqlalchemy as sa
from alembic import op

from guildhall.db import ddl

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
LEVELS_MAX = 8
VERSIONS_KEPT = 10_000
SUBJECTS_MAX = 20_000

# Of each table: what the log calls a change, its key there, and the columns that decisions rest on.
TABLES = {
    "teams": ("TEAM", "id", "id, name, parent_id"),
    "users": ("SUBJECT", "id", "id, deactivated_at"),
    "service_accounts": ("SUBJECT", "id", "id, deactivated_at, team_id"),
    "role_permissions": ("ROLES", "NULL::uuid", "role, permission, effect"),
    "role_bindings": ("SUBJECT", "subject_id", "subject_id, team_id, role, starts_at, ends_at"),
}


def upgrade() -> None:
    extend_teams()
    extend_roles()
    create_emergencies()
    create_policy_changes()
    create_governance()


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def extend_teams() -> None:
    """Deferred, so that it sees what others committed meanwhile: changes of teams wait for each other until commit."""
    op.add_column("teams", sa.Column("parent_id", sa.Uuid()))
    op.create_foreign_key("fk_teams_parent_id_teams", "teams", "teams", ["parent_id"], ["id"])
    op.create_index("ix_teams_parent_id", "teams", ["parent_id"])
    op.execute(f"""
        CREATE FUNCTION guildhall_teams_are_a_tree() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE levels integer;
        BEGIN
            WITH RECURSIVE above AS (
                SELECT id, parent_id, 1 AS level FROM public.teams WHERE id = NEW.id
                UNION ALL
                SELECT team.id, team.parent_id, above.level + 1
                FROM public.teams team JOIN above ON team.id = above.parent_id WHERE above.level <= {LEVELS_MAX}
            ), below AS (
                SELECT id, 0 AS level FROM public.teams WHERE id = NEW.id
                UNION ALL
                SELECT team.id, below.level + 1
                FROM public.teams team JOIN below ON team.parent_id = below.id WHERE below.level <= {LEVELS_MAX}
            )
            SELECT (SELECT max(level) FROM above) + (SELECT max(level) FROM below) INTO levels;
            IF levels > {LEVELS_MAX} THEN
                RAISE EXCEPTION 'a team is below itself, or more than {LEVELS_MAX} levels deep'
                    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'teams_are_a_tree';
            END IF;
            RETURN NULL;
        END $$
    """)  # noqa: S608
    for event, condition in (("INSERT", ""), ("UPDATE", "AND NEW.parent_id IS DISTINCT FROM OLD.parent_id")):
        op.execute(f"""
            CREATE CONSTRAINT TRIGGER teams_are_a_tree_{event.lower()} AFTER {event} ON teams
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL {condition})
            EXECUTE FUNCTION guildhall_teams_are_a_tree()
        """)


def extend_roles() -> None:
    """What the audit record shows is denied to nobody: who writes the policy cannot blind who reads the record."""
    op.add_column("roles", sa.Column("custom", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("role_bindings", sa.Column("starts_at", MOMENT))
    op.add_column("role_bindings", sa.Column("ends_at", MOMENT))
    op.create_check_constraint(op.f("ck_role_bindings_ends_after_start"), "role_bindings", "ends_at > starts_at")
    op.create_check_constraint(
        op.f("ck_role_permissions_audit_is_not_denied"),
        "role_permissions",
        "effect = 'allow' OR permission NOT LIKE 'guildhall:audit:%'",
    )
    op.drop_constraint(op.f("ck_role_bindings_source"), "role_bindings")
    op.create_check_constraint(
        op.f("ck_role_bindings_source"), "role_bindings", "source IN ('HAND', 'GROUP', 'EMERGENCY')"
    )


def create_emergencies() -> None:
    """guildhall/auth/tables.py: an alarm for each role that somebody took."""
    op.create_table(
        "emergency_roles",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("team_id", sa.Uuid()),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("starts_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("reviewed_at", MOMENT),
        sa.Column("reviewed_by", sa.Uuid()),
        sa.Column("review", sa.String()),
        sa.PrimaryKeyConstraint("id", name="pk_emergency_roles"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_emergency_roles_user_id_users"),
        sa.ForeignKeyConstraint(["role"], ["roles.name"], name="fk_emergency_roles_role_roles"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_emergency_roles_team_id_teams"),
        sa.ForeignKeyConstraint(["reviewed_by"], ["users.id"], name="fk_emergency_roles_reviewed_by_users"),
        sa.CheckConstraint("btrim(reason) <> ''", name=op.f("ck_emergency_roles_has_reason")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_emergency_roles_ends_after_start")),
        sa.CheckConstraint(
            "num_nonnulls(reviewed_at, reviewed_by, review) IN (0, 3)", name=op.f("ck_emergency_roles_review_whole")
        ),
        sa.CheckConstraint("reviewed_by <> user_id", name=op.f("ck_emergency_roles_reviewed_by_another")),
    )
    op.create_index("ix_emergency_roles_starts_at", "emergency_roles", ["starts_at", "id"])
    ddl.service_may(op, "emergency_roles", "SELECT, INSERT, UPDATE (reviewed_at, reviewed_by, review)")


def create_policy_changes() -> None:
    """Who and what each version changed, written by the triggers that raise it; a process reads no more than that.

    A statement that changed nothing that decisions rest on raises nothing. Older versions than VERSIONS_KEPT are let go
    of; a process that is so far behind reads all.
    """
    op.create_table(
        "policy_changes",
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.Uuid()),
        sa.PrimaryKeyConstraint("version", "place", name="pk_policy_changes"),
        sa.CheckConstraint("kind IN ('SUBJECT', 'TEAM', 'ROLES', 'ALL')", name=op.f("ck_policy_changes_kind")),
    )
    ddl.service_may(op, "policy_changes", "SELECT")
    for table in TABLES:
        op.execute(f"DROP TRIGGER {table}_policy_changed ON {table}")
    op.execute("DROP FUNCTION guildhall_policy_changed()")
    op.execute(f"""
        CREATE FUNCTION guildhall_policy_changed() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
        DECLARE
            changed bigint;
            keys uuid[];
            before_ text := format('SELECT %s AS key, %s FROM before', TG_ARGV[1], TG_ARGV[2]);
            after_ text := format('SELECT %s AS key, %s FROM after', TG_ARGV[1], TG_ARGV[2]);
        BEGIN
            IF TG_OP <> 'TRUNCATE' THEN
                EXECUTE format('SELECT array_agg(DISTINCT key) FROM (%s) AS rows', CASE TG_OP
                    WHEN 'INSERT' THEN after_
                    WHEN 'DELETE' THEN before_
                    ELSE format('(%1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL %1$s)', after_, before_)
                END) INTO keys;
                IF keys IS NULL THEN
                    RETURN NULL;
                END IF;
            END IF;
            UPDATE public.policy_state SET version = version + 1 RETURNING version INTO changed;
            INSERT INTO public.policy_changes (version, place, kind, key)
            SELECT changed, place, CASE WHEN key IS NULL AND TG_ARGV[0] <> 'ROLES' THEN 'ALL' ELSE TG_ARGV[0] END, key
            FROM unnest(CASE WHEN cardinality(keys) <= {SUBJECTS_MAX} THEN keys ELSE ARRAY[NULL::uuid] END)
                WITH ORDINALITY AS listed (key, place);
            DELETE FROM public.policy_changes WHERE version <= changed - {VERSIONS_KEPT};
            PERFORM pg_notify('guildhall_policy', changed::text);
            RETURN NULL;
        END $$
    """)  # noqa: S608
    seen = {
        "insert": "REFERENCING NEW TABLE AS after",
        "update": "REFERENCING OLD TABLE AS before NEW TABLE AS after",
        "delete": "REFERENCING OLD TABLE AS before",
        "truncate": "",
    }
    for table, (kind, key, columns) in TABLES.items():
        for event, tables in seen.items():
            op.execute(f"""
                CREATE TRIGGER {table}_policy_changed_{event} AFTER {event} ON {table} {tables}
                FOR EACH STATEMENT EXECUTE FUNCTION guildhall_policy_changed('{kind}', '{key}', '{columns}')
            """)


def create_governance() -> None:
    """The last administrator stays: not unbound, not ended, not deactivated, and not denied what governing takes.

    Whoever counts holds the role for good, and by no emergency; a role that ends would leave nobody by itself.
    """
    for table in ("role_bindings", "users"):
        op.execute(f"DROP TRIGGER {table}_keep_an_administrator ON {table}")
    op.execute("DROP FUNCTION guildhall_keep_an_administrator()")
    op.execute("""
        CREATE VIEW administrators AS
        SELECT person.id AS user_id, NOT EXISTS (
            SELECT FROM unnest(ARRAY['guildhall:role:bind', 'guildhall:role:change', 'guildhall:user:change'])
                AS needed (permission)
            LEFT JOIN LATERAL (
                SELECT bool_or(line.effect = 'allow' AND held.lasts) AND NOT bool_or(line.effect = 'deny') AS allowed
                FROM role_permissions line JOIN (
                    SELECT role, starts_at IS NULL AND ends_at IS NULL AS lasts
                    FROM role_bindings WHERE user_id = person.id AND team_id IS NULL
                    UNION ALL SELECT 'member', false
                ) AS held ON held.role = line.role
                WHERE line.permission = needed.permission
            ) AS decided ON true
            WHERE decided.allowed IS NOT TRUE
        ) AS governs
        FROM users person
        WHERE person.deactivated_at IS NULL AND EXISTS (
            SELECT FROM role_bindings binding
            WHERE binding.user_id = person.id AND binding.role = 'administrator' AND binding.team_id IS NULL
                AND binding.starts_at IS NULL AND binding.ends_at IS NULL
        )
    """)
    ddl.service_may(op, "administrators", "SELECT")
    op.execute("""
        CREATE FUNCTION guildhall_keep_an_administrator() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_ARGV[0] = 'added' AND NOT EXISTS (SELECT FROM public.administrators) THEN
                RETURN NULL;  -- there was none before either
            END IF;
            IF TG_TABLE_NAME = 'users' THEN
                IF NOT EXISTS (
                    SELECT FROM public.role_bindings binding
                    WHERE binding.user_id = OLD.id AND binding.role = 'administrator' AND binding.team_id IS NULL
                ) THEN
                    RETURN NULL;
                END IF;
            END IF;
            IF NOT EXISTS (SELECT FROM public.administrators WHERE governs) THEN
                RAISE EXCEPTION 'the last administrator cannot be removed'
                    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'last_administrator';
            END IF;
            RETURN NULL;
        END $$
    """)
    kept = "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    for name, event, condition in (
        ("users_keep_an_administrator", "UPDATE ON users",
         "WHEN (OLD.deactivated_at IS NULL AND NEW.deactivated_at IS NOT NULL)"),
        ("role_bindings_keep_an_administrator", "UPDATE OR DELETE ON role_bindings",
         "WHEN (OLD.role = 'administrator' AND OLD.team_id IS NULL)"),
    ):  # fmt: skip
        op.execute(f"""
            CREATE CONSTRAINT TRIGGER {name} AFTER {event} {kept} {condition}
            EXECUTE FUNCTION guildhall_keep_an_administrator('removed')
        """)
    for name, event, condition in (
        ("role_bindings_deny_no_administrator", "INSERT OR UPDATE ON role_bindings", "WHEN (NEW.team_id IS NULL)"),
        ("role_permissions_keep_an_administrator", "INSERT OR UPDATE OR DELETE ON role_permissions", ""),
    ):
        op.execute(f"""
            CREATE CONSTRAINT TRIGGER {name} AFTER {event} {kept} {condition}
            EXECUTE FUNCTION guildhall_keep_an_administrator('added')
        """)
