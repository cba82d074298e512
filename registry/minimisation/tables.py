"""The table of what was cut out of files."""

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Timestamp
from registry.artifacts.tables import SHA256_PATTERN


class FilteredFile(Base):
    """What a filter left of a file. Its bytes lie in the store for a while; cut anew they are the same again."""

    __tablename__ = "filtered_files"
    __table_args__ = (
        CheckConstraint("size_bytes >= 0", name="size_not_negative"),
        CheckConstraint("rows >= 0", name="rows_not_negative"),
        CheckConstraint(f"sha256 ~ '{SHA256_PATTERN}'", name="sha256_is_hexadecimal"),
    )

    artifact_id: Mapped[UUID] = mapped_column(ForeignKey("artifacts.id"), primary_key=True)
    filter_digest: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[Timestamp]
