"""Access: what was given or made in an emergency, and who got it; under which grants a source may have been read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from guildhall.db import ddl

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    mark_emergencies()
    create_emergency_recipients()
    govern_with_escalation()
    op.add_column("lineage_edges", sa.Column("access_grant_ids", postgresql.ARRAY(sa.Uuid()), nullable=True))


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError


def mark_emergencies() -> None:
    """What lasts of an emergency at this moment is marked as well."""
    for table, ends in (("role_bindings", "ends_at"), ("tokens", "expires_at")):
        op.add_column(table, sa.Column("emergency_id", sa.Uuid(), nullable=True))
        op.create_foreign_key(
            op.f(f"fk_{table}_emergency_id_emergency_roles"), table, "emergency_roles", ["emergency_id"], ["id"]
        )
        op.create_check_constraint(
            op.f(f"ck_{table}_ends_with_emergency"), table, f"emergency_id IS NULL OR {ends} IS NOT NULL"
        )
    op.execute("""
        UPDATE role_bindings AS binding SET emergency_id = taken.id FROM emergency_roles AS taken
        WHERE binding.source = 'EMERGENCY' AND binding.user_id = taken.user_id AND binding.role = taken.role
            AND binding.team_id IS NOT DISTINCT FROM taken.team_id AND binding.starts_at = taken.starts_at
    """)


def create_emergency_recipients() -> None:
    """guildhall/auth/tables.py: who was given a role in an emergency."""
    op.create_table(
        "emergency_recipients",
        sa.Column("emergency_id", sa.Uuid(), nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "subject_kind IN ('USER', 'SERVICE_ACCOUNT')", name=op.f("ck_emergency_recipients_subject_kind")
        ),
        sa.ForeignKeyConstraint(
            ["emergency_id"], ["emergency_roles.id"], name=op.f("fk_emergency_recipients_emergency_id_emergency_roles")
        ),
        sa.PrimaryKeyConstraint("emergency_id", "subject_kind", "subject_id", name=op.f("pk_emergency_recipients")),
    )
    ddl.append_only(op, "emergency_recipients")
    ddl.service_may(op, "emergency_recipients", "SELECT, INSERT")


def govern_with_escalation() -> None:
    """Governing takes the right to give what one does not hold: without it nobody could appoint an auditor."""
    op.execute("""
        CREATE OR REPLACE VIEW administrators AS
        SELECT person.id AS user_id, NOT EXISTS (
            SELECT FROM unnest(ARRAY[
                'guildhall:role:bind', 'guildhall:role:change', 'guildhall:role:escalate', 'guildhall:user:change'
            ]) AS needed (permission)
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
