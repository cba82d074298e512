"""The tables of files, of the parts that are still on their way, and of packages."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Timestamp

SHA256_PATTERN = "^[0-9a-f]{64}$"


class OwnerKind(StrEnum):
    """What files can belong to."""

    DATASET_VERSION = "DATASET_VERSION"
    MODEL_VERSION = "MODEL_VERSION"
    PACKAGE = "PACKAGE"


class ArtifactState(StrEnum):
    """A file is announced (PENDING) until its bytes were verified against size and digest (STORED)."""

    PENDING = "PENDING"
    STORED = "STORED"


class PackageState(StrEnum):
    """A package waits for its archive (DRAFT) until that was verified (READY)."""

    DRAFT = "DRAFT"
    READY = "READY"


class Artifact(Base):
    """One file of its owner. `sha256` (hexadecimal) is announced at first and proven once the state is STORED.

    The bytes of a stored file lie under their digest, so equal files are kept once. `owner_id` has no foreign key
    because it points into one of three tables.
    """

    __tablename__ = "artifacts"
    __table_args__ = (
        UniqueConstraint("owner_kind", "owner_id", "path"),
        CheckConstraint("owner_kind IN ('DATASET_VERSION', 'MODEL_VERSION', 'PACKAGE')", name="owner_kind"),
        CheckConstraint("state IN ('PENDING', 'STORED')", name="state"),
        CheckConstraint("(state = 'STORED') = (stored_at IS NOT NULL)", name="stored_has_moment"),
        CheckConstraint("size_bytes >= 0", name="size_not_negative"),
        CheckConstraint("rows IS NULL OR rows >= 0", name="rows_not_negative"),
        CheckConstraint(f"sha256 ~ '{SHA256_PATTERN}'", name="sha256_is_hexadecimal"),
        CheckConstraint("octet_length(path) BETWEEN 1 AND 1024", name="path_length"),
        Index("ix_artifacts_pending", "created_at", postgresql_where=text("state = 'PENDING'")),
        Index("ix_artifacts_sha256", "sha256"),
    )

    id: Mapped[Id]
    owner_kind: Mapped[str]
    owner_id: Mapped[UUID]
    path: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    media_type: Mapped[str]
    rows: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str]
    created_at: Mapped[Timestamp]
    stored_at: Mapped[datetime | None]


class ArtifactPart(Base):
    """One received part of a file that is not yet stored. Sent again it is replaced; once the file is stored it goes.

    `storage_key` names the file in the artifact store where its bytes begin at `storage_offset`. None: the part is all
    of the file, was found right, and lies under the file's digest already.

    Digests were computed while the bytes arrived: `sha256` of the part, `sha256_so_far` of the file from its first byte
    to the end of the part. Of a part that came apart from those before it only the first is known, of one that was
    appended to them only the second.
    """

    __tablename__ = "artifact_parts"
    __table_args__ = (
        CheckConstraint("number >= 1", name="number_from_one"),
        CheckConstraint("size_bytes >= 0", name="size_not_negative"),
        CheckConstraint(f"sha256 ~ '{SHA256_PATTERN}'", name="sha256_is_hexadecimal"),
        CheckConstraint(f"sha256_so_far ~ '{SHA256_PATTERN}'", name="sha256_so_far_is_hexadecimal"),
        CheckConstraint("sha256 IS NOT NULL OR sha256_so_far IS NOT NULL", name="some_digest"),
        CheckConstraint("storage_offset >= 0", name="offset_not_negative"),
        Index("ix_artifact_parts_storage_key", "storage_key"),
    )

    artifact_id: Mapped[UUID] = mapped_column(ForeignKey("artifacts.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    sha256_so_far: Mapped[str | None]
    storage_key: Mapped[str | None]
    storage_offset: Mapped[int] = mapped_column(BigInteger, server_default="0")
    received_at: Mapped[Timestamp]


class Package(Base):
    """A folder with a training script, as one archive. Its file is an artifact; digest and size stand here too."""

    __tablename__ = "packages"
    __table_args__ = (
        CheckConstraint("state IN ('DRAFT', 'READY')", name="state"),
        CheckConstraint("(state = 'READY') = (ready_at IS NOT NULL)", name="ready_has_moment"),
        CheckConstraint("size_bytes >= 0", name="size_not_negative"),
        CheckConstraint(f"sha256 ~ '{SHA256_PATTERN}'", name="sha256_is_hexadecimal"),
    )

    id: Mapped[Id]
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"), index=True)
    sha256: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    created_by: Mapped[UUID]
    created_at: Mapped[Timestamp]
    ready_at: Mapped[datetime | None]
