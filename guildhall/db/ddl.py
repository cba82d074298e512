"""What the migrations say more than once, so that every table that is a record is guarded in the same way."""

from typing import Protocol

from guildhall.db.engine import SERVICE_ROLE

APPEND_ONLY_FUNCTION = "guildhall_refuse_change"


class Executes(Protocol):
    """What a revision knows as `alembic.op`."""

    def execute(self, _statement: str, /) -> None:
        """Run one statement."""


def create_service_role(op: Executes) -> None:
    """Make `guildhall_service` where missing; it may use, never own, what this owner creates from now on."""
    op.execute(f"""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{SERVICE_ROLE}') THEN
                CREATE ROLE {SERVICE_ROLE} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
            END IF;
        END $$
    """)
    op.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    op.execute(f"GRANT USAGE ON SCHEMA public TO {SERVICE_ROLE}")
    grant = "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT"
    op.execute(f"{grant} SELECT, INSERT, UPDATE, DELETE ON TABLES TO {SERVICE_ROLE}")
    op.execute(f"{grant} USAGE ON SEQUENCES TO {SERVICE_ROLE}")
    op.execute(f"{grant} EXECUTE ON FUNCTIONS TO {SERVICE_ROLE}")
    op.execute(f"REVOKE ALL ON TABLE alembic_version FROM {SERVICE_ROLE}")
    op.execute(f"GRANT SELECT ON TABLE alembic_version TO {SERVICE_ROLE}")


def create_append_only_function(op: Executes) -> None:
    """The trigger function behind `append_only`."""
    op.execute(f"""
        CREATE FUNCTION {APPEND_ONLY_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'rows of % are a record: they are added, never changed', TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME,
                      CONSTRAINT = TG_TABLE_NAME || '_append_only';
        END $$
    """)


def append_only(op: Executes, table: str) -> None:
    """Nobody changes a row of the table: the service lacks the right, and a trigger refuses everyone else too.

    For a table with columns that must change (an outcome that is filled in once), write a trigger of its own instead.
    """
    op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON TABLE {table} FROM {SERVICE_ROLE}")
    op.execute(f"""
        CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION {APPEND_ONLY_FUNCTION}()
    """)


def service_may(op: Executes, table: str, rights: str) -> None:
    """Narrow what the service may do with a table to exactly these rights, such as `"SELECT, INSERT"`."""
    op.execute(f"REVOKE ALL ON TABLE {table} FROM {SERVICE_ROLE}")
    op.execute(f"GRANT {rights} ON TABLE {table} TO {SERVICE_ROLE}")
