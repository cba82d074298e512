"""Registry: a part that is all of its file and was found right lies under the file's digest, with no key of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Old programs go on beside it: they write a key with each part."""
    op.alter_column("artifact_parts", "storage_key", existing_type=sa.String(), nullable=True)


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
