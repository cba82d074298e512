"""The tables of teams, people, service accounts, roles and tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Json, Timestamp
from guildhall.slugs import SLUG_PATTERN

_SUBJECT_USER = "CASE WHEN subject_kind = 'USER' THEN subject_id END"
_SUBJECT_SERVICE_ACCOUNT = "CASE WHEN subject_kind = 'SERVICE_ACCOUNT' THEN subject_id END"


class Team(Base):
    """Who owns models, data sets and credits; `name` is a slug, `title` what people call it."""

    __tablename__ = "teams"
    __table_args__ = (
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
        CheckConstraint("btrim(title) <> ''", name="has_title"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    created_at: Mapped[Timestamp]


class User(Base):
    """A person, known by one address in lower case. Who left is deactivated, never deleted: records point at them."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("email = lower(email) AND email ~ '^[^@\\s]+@[^@\\s]+$'", name="email_is_address"),
        CheckConstraint("btrim(name) <> ''", name="has_name"),
    )

    id: Mapped[Id]
    name: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[Timestamp]
    deactivated_at: Mapped[datetime | None]


class ServiceAccount(Base):
    """A program that calls in its own name, for one team."""

    __tablename__ = "service_accounts"
    __table_args__ = (
        UniqueConstraint("team_id", "name"),
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
    )

    id: Mapped[Id]
    name: Mapped[str]
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    created_at: Mapped[Timestamp]
    deactivated_at: Mapped[datetime | None]


class Role(Base):
    """A named set of permissions; `sentence` says to people what it is for."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(primary_key=True)
    sentence: Mapped[str]


class PermissionRow(Base):
    """A permission that this database has met. Its roles are seeded when its name comes first, and never again."""

    __tablename__ = "permissions"

    name: Mapped[str] = mapped_column(primary_key=True)
    permission_class: Mapped[str]
    sentence: Mapped[str]


class RolePermission(Base):
    """One line of the policy: the role allows the permission, or denies it whatever another role allows."""

    __tablename__ = "role_permissions"
    __table_args__ = (CheckConstraint("effect IN ('allow', 'deny')", name="effect"),)

    role: Mapped[str] = mapped_column(ForeignKey("roles.name"), primary_key=True)
    permission: Mapped[str] = mapped_column(ForeignKey("permissions.name"), primary_key=True)
    effect: Mapped[str]


class RoleBinding(Base):
    """Somebody holds a role in a team, or organisation-wide where `team_id` is empty.

    `user_id` and `service_account_id` are `subject_id` once more, generated, so that the database checks the reference.
    """

    __tablename__ = "role_bindings"
    __table_args__ = (
        CheckConstraint("subject_kind IN ('USER', 'SERVICE_ACCOUNT')", name="subject_kind"),
        CheckConstraint("role NOT IN ('member', 'job')", name="implicit_roles_are_not_bound"),
        UniqueConstraint("subject_id", "subject_kind", "team_id", "role", postgresql_nulls_not_distinct=True),
    )

    id: Mapped[Id]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    team_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"), index=True)
    role: Mapped[str] = mapped_column(ForeignKey("roles.name"))
    created_at: Mapped[Timestamp]
    created_by: Mapped[UUID | None]
    user_id: Mapped[UUID | None] = mapped_column(Computed(_SUBJECT_USER, persisted=True), ForeignKey("users.id"))
    service_account_id: Mapped[UUID | None] = mapped_column(
        Computed(_SUBJECT_SERVICE_ACCOUNT, persisted=True), ForeignKey("service_accounts.id")
    )


class Token(Base):
    """A secret that stands for a caller: only its SHA-256 hash is kept, and a prefix by which people tell it apart.

    `claims` is empty but for a job's token, where it says what the token is narrowed to.
    """

    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint("subject_kind IN ('USER', 'SERVICE_ACCOUNT', 'JOB')", name="subject_kind"),
        CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
        CheckConstraint("expires_at > created_at", name="expires_after_creation"),
        CheckConstraint("subject_kind <> 'JOB' OR expires_at IS NOT NULL", name="job_token_expires"),
        Index("ix_tokens_subject_id", "subject_id", postgresql_where=text("revoked_at IS NULL")),
    )

    id: Mapped[Id]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    prefix: Mapped[str]
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    label: Mapped[str]
    claims: Mapped[Json]
    created_at: Mapped[Timestamp]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    user_id: Mapped[UUID | None] = mapped_column(Computed(_SUBJECT_USER, persisted=True), ForeignKey("users.id"))
    service_account_id: Mapped[UUID | None] = mapped_column(
        Computed(_SUBJECT_SERVICE_ACCOUNT, persisted=True), ForeignKey("service_accounts.id")
    )


class PolicyState(Base):
    """The number of the policy in force, in one row; triggers on what decisions rest on raise it with each change."""

    __tablename__ = "policy_state"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(BigInteger)
