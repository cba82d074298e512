"""Registry: parts that came one after the other lie in one file of the store, with one digest of it so far."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Old programs go on beside it: each of their parts has a key and a digest of its own."""
    op.add_column("artifact_parts", sa.Column("storage_offset", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("artifact_parts", sa.Column("sha256_so_far", sa.String(), nullable=True))
    op.execute("UPDATE artifact_parts SET sha256_so_far = sha256 WHERE number = 1")
    op.alter_column("artifact_parts", "sha256", existing_type=sa.String(), nullable=True)
    for name, condition in (
        ("sha256_so_far_is_hexadecimal", "sha256_so_far ~ '^[0-9a-f]{64}$'"),
        ("some_digest", "sha256 IS NOT NULL OR sha256_so_far IS NOT NULL"),
        ("offset_not_negative", "storage_offset >= 0"),
    ):
        op.create_check_constraint(op.f(f"ck_artifact_parts_{name}"), "artifact_parts", condition)
    op.drop_constraint("uq_artifact_parts_storage_key", "artifact_parts")
    op.create_index("ix_artifact_parts_storage_key", "artifact_parts", ["storage_key"])


def downgrade() -> None:
    """Nothing is released that could be taken back; a development database is made anew."""
    raise NotImplementedError
