"""Tables of cards and of the data that a reuser must bring."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Timestamp


class SectionOrigin(StrEnum):
    """Who wrote a section: the platform, from what it observed of a run, or a person."""

    RUN = "RUN"
    PERSON = "PERSON"


class CardSection(Base):
    """One named part of a version's card, in Markdown; shown in the order of `position`."""

    __tablename__ = "card_sections"
    __table_args__ = (
        UniqueConstraint("model_version_id", "name"),
        CheckConstraint("origin IN ('RUN', 'PERSON')", name="origin_known"),
        CheckConstraint("name <> '' AND body <> ''", name="not_empty"),
    )

    id: Mapped[Id]
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id"))
    name: Mapped[str]
    body: Mapped[str]
    origin: Mapped[str]
    position: Mapped[int]
    updated_by: Mapped[UUID]
    updated_at: Mapped[Timestamp]


class DataNeed(Base):
    """The data that a reuser of the version must bring; `features` is a list of {name, type, unit, required}."""

    __tablename__ = "data_needs"
    __table_args__ = (
        UniqueConstraint("model_version_id"),
        CheckConstraint("jsonb_typeof(features) = 'array'", name="features_array"),
        CheckConstraint("rows_min IS NULL OR rows_min >= 0", name="rows_min_not_negative"),
    )

    id: Mapped[Id]
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id"))
    features: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    label_definition: Mapped[str | None]
    rows_min: Mapped[int | None] = mapped_column(BigInteger)
    updated_by: Mapped[UUID]
    updated_at: Mapped[Timestamp]
