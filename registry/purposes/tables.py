"""The table of purposes."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Timestamp
from guildhall.slugs import SLUG_PATTERN


class Purpose(Base):
    """One purpose that data sets may permit and access grants name, such as `quality-research`."""

    __tablename__ = "purposes"
    __table_args__ = (CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),)

    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str]
    created_at: Mapped[Timestamp]
