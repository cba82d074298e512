"""All that ends access waits for the reads that are being announced at its commit, as a change of the policy does.

So a read holds one lock, which it shares with other reads and waits for in a queue, in place of rows: share locks on
rows are given past a writer who waits for them, and a stream of readers kept a withdrawal from ever coming to its turn.
"""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

WAITS = "guildhall_waits_for_readers"


def upgrade() -> None:
    op.execute(f"ALTER FUNCTION guildhall_policy_waits_for_readers() RENAME TO {WAITS}")
    _waits("access_grants", ["withdrawn_at", "valid_to"])
    _waits("tokens", ["revoked_at"])
    # Regions too: data that is stricter than its stewards saw is loosened no more.
    _waits(
        "datasets", ["team_id", "visibility", "classification", "permitted_purposes", "retention_ends_on", "regions"]
    )
    _waits("models", ["team_id", "visibility"])
    # Nobody reads a version that is not ready; it inherits its restrictions before it is.
    _waits(
        "model_versions",
        ["effective_classification", "effective_permitted_purposes", "effective_retention_ends_on"],
        where="OLD.ready_at IS NOT NULL AND ",
    )
    # A source needs its own grant again, whether or not what is made from it inherits more by that.
    _waits("loosenings", ["state"], where="OLD.state = 'APPROVED' AND ")


def _waits(table: str, columns: list[str], *, where: str = "") -> None:
    before, after = (", ".join(f"{row}.{column}" for column in columns) for row in ("OLD", "NEW"))
    op.execute(f"""
        CREATE CONSTRAINT TRIGGER {table}_wait_for_readers AFTER UPDATE ON {table}
        DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN ({where}ROW({before}) IS DISTINCT FROM ROW({after}))
        EXECUTE FUNCTION {WAITS}()
    """)


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
