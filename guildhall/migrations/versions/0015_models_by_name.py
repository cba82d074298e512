"""Models ordered by name, page after page, without a sort of all of them."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Build the index that the order asks for; the key is the last order of every list."""
    op.create_index("ix_models_name", "models", ["name", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_models_name", table_name="models")
