"""What every table shares: naming of constraints, and the few column types that have one meaning everywhere."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, MetaData, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

Id = Annotated[UUID, mapped_column(Uuid(as_uuid=True), primary_key=True)]
"""The primary key of a table: a UUIDv7 that the caller supplies (`clock.new_id`), never a database default."""

Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]
"""A moment in UTC (`timestamptz`). Intervals are half open: [starts_at, ends_at)."""

MicroCredits = Annotated[int, mapped_column(BigInteger)]
"""Credits in their smallest unit, a millionth; never a float."""

Json = Annotated[dict[str, Any], mapped_column(JSONB)]
"""A JSON object whose shape its table documents."""


class Base(DeclarativeBase):
    """The declarative base of all tables; one metadata, because one migration history creates them."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 -- SQLAlchemy reads it as a plain class attribute
        UUID: Uuid(as_uuid=True),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
    }
