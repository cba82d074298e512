"""The table of adoptions."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Timestamp


class Adoption(Base):
    """A team relies on a version of a model, from `since` until `ended_at`; one at a time per model and team."""

    __tablename__ = "adoptions"
    __table_args__ = (
        CheckConstraint("purpose <> ''", name="purpose_given"),
        CheckConstraint("ended_at IS NULL OR ended_at >= since", name="ends_after_start"),
        Index("uq_adoptions_live", "model_id", "team_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_adoptions_model_id", "model_id", "id"),
        Index("ix_adoptions_team_id", "team_id", "id"),
        Index("ix_adoptions_model_version_id", "model_version_id"),
    )

    id: Mapped[Id]
    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id"))
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id"))
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    purpose: Mapped[str]
    adopted_by: Mapped[UUID]
    since: Mapped[Timestamp]
    ended_by: Mapped[UUID | None]
    ended_at: Mapped[datetime | None]
