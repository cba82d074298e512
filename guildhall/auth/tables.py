"""The tables of teams, people, service accounts, roles and tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Json, Timestamp
from guildhall.slugs import SLUG_PATTERN

_SUBJECT_USER = "CASE WHEN subject_kind = 'USER' THEN subject_id END"
_SUBJECT_SERVICE_ACCOUNT = "CASE WHEN subject_kind = 'SERVICE_ACCOUNT' THEN subject_id END"


class Team(Base):
    """Who owns models, data sets and credits; `name` is a slug, `title` what people call it.

    Roles held in the team above (`parent_id`) count in this one too. It is a tree, as a trigger makes sure.
    """

    __tablename__ = "teams"
    __table_args__ = (
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
        CheckConstraint("btrim(title) <> ''", name="has_title"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"), index=True)
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
    """A named set of permissions; `sentence` says to people what it is for, `custom` that administrators made it."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(primary_key=True)
    sentence: Mapped[str]
    custom: Mapped[bool] = mapped_column(default=False, server_default=false())


class PermissionRow(Base):
    """A permission that this database has met. Its roles are seeded when its name comes first, and never again."""

    __tablename__ = "permissions"

    name: Mapped[str] = mapped_column(primary_key=True)
    permission_class: Mapped[str]
    sentence: Mapped[str]


class RolePermission(Base):
    """One line of the policy: the role allows the permission, or denies it whatever another role allows."""

    __tablename__ = "role_permissions"
    __table_args__ = (
        CheckConstraint("effect IN ('allow', 'deny')", name="effect"),
        CheckConstraint("effect = 'allow' OR permission NOT LIKE 'guildhall:audit:%'", name="audit_is_not_denied"),
    )

    role: Mapped[str] = mapped_column(ForeignKey("roles.name"), primary_key=True)
    permission: Mapped[str] = mapped_column(ForeignKey("permissions.name"), primary_key=True)
    effect: Mapped[str]


class RoleBinding(Base):
    """Somebody holds a role in a team, or organisation-wide where `team_id` is empty.

    `user_id` and `service_account_id` are `subject_id` once more, generated, so that the database checks the reference.
    A role may be there twice: given by hand, and by a group of the issuer; who leaves the group keeps what was given.
    It counts from `starts_at` until just before `ends_at`, and without them always. What was taken or given in an
    emergency says in which, and ends with it.
    """

    __tablename__ = "role_bindings"
    __table_args__ = (
        CheckConstraint("subject_kind IN ('USER', 'SERVICE_ACCOUNT')", name="subject_kind"),
        CheckConstraint("role NOT IN ('member', 'job')", name="implicit_roles_are_not_bound"),
        CheckConstraint("source IN ('HAND', 'GROUP', 'EMERGENCY')", name="source"),
        CheckConstraint("ends_at > starts_at", name="ends_after_start"),
        CheckConstraint("emergency_id IS NULL OR ends_at IS NOT NULL", name="ends_with_emergency"),
        UniqueConstraint("subject_id", "subject_kind", "team_id", "role", "source", postgresql_nulls_not_distinct=True),
    )

    id: Mapped[Id]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    team_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"), index=True)
    role: Mapped[str] = mapped_column(ForeignKey("roles.name"))
    created_at: Mapped[Timestamp]
    created_by: Mapped[UUID | None]
    source: Mapped[str] = mapped_column(default="HAND", server_default=text("'HAND'"))
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    emergency_id: Mapped[UUID | None] = mapped_column(ForeignKey("emergency_roles.id"))
    user_id: Mapped[UUID | None] = mapped_column(Computed(_SUBJECT_USER, persisted=True), ForeignKey("users.id"))
    service_account_id: Mapped[UUID | None] = mapped_column(
        Computed(_SUBJECT_SERVICE_ACCOUNT, persisted=True), ForeignKey("service_accounts.id")
    )


class Token(Base):
    """A secret that stands for a caller: only its SHA-256 hash is kept, and a prefix by which people tell it apart.

    `claims` says of a job's token what it is narrowed to, and of an issuer's the hash of what was signed and the
    thumbprint of the key; others have none. A token of a program may be narrowed to some of its roles and to callers in
    some networks; NULL is no limit. One that was made in an emergency says in which: it ends with it, and so does what
    it is used to give or to make.
    `origin` tells what the issuer made (a JWT that was verified, until its own end) and what a browser holds (a
    session's cookie).
    """

    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint("subject_kind IN ('USER', 'SERVICE_ACCOUNT', 'JOB')", name="subject_kind"),
        CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
        CheckConstraint("expires_at > created_at", name="expires_after_creation"),
        CheckConstraint("subject_kind <> 'JOB' OR expires_at IS NOT NULL", name="job_token_expires"),
        CheckConstraint("origin IN ('GUILDHALL', 'ISSUER', 'BROWSER')", name="origin"),
        CheckConstraint("origin = 'GUILDHALL' OR subject_kind = 'USER'", name="origin_of_people"),
        CheckConstraint("origin = 'GUILDHALL' OR expires_at IS NOT NULL", name="sign_in_expires"),
        CheckConstraint("emergency_id IS NULL OR expires_at IS NOT NULL", name="ends_with_emergency"),
        Index("ix_tokens_subject_id", "subject_id", postgresql_where=text("revoked_at IS NULL")),
    )

    id: Mapped[Id]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    prefix: Mapped[str]
    hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    label: Mapped[str]
    claims: Mapped[Json]
    origin: Mapped[str] = mapped_column(default="GUILDHALL", server_default=text("'GUILDHALL'"))
    roles: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    networks: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    emergency_id: Mapped[UUID | None] = mapped_column(ForeignKey("emergency_roles.id"))
    created_at: Mapped[Timestamp]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    user_id: Mapped[UUID | None] = mapped_column(Computed(_SUBJECT_USER, persisted=True), ForeignKey("users.id"))
    service_account_id: Mapped[UUID | None] = mapped_column(
        Computed(_SUBJECT_SERVICE_ACCOUNT, persisted=True), ForeignKey("service_accounts.id")
    )


class UserIdentity(Base):
    """A person as the issuer knows them: its name and theirs there, for good.

    `groups` are those of the newest token (issued at `groups_as_of`) that was seen, so that an older one brings back
    nothing. Tokens that were issued before `signed_out_at` do not count.
    """

    __tablename__ = "user_identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"), UniqueConstraint("user_id", "issuer"))

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    issuer: Mapped[str]
    subject: Mapped[str]
    groups: Mapped[list[str]] = mapped_column(ARRAY(String))
    groups_as_of: Mapped[Timestamp]
    signed_out_at: Mapped[datetime | None]
    created_at: Mapped[Timestamp]


class GroupMapping(Base):
    """Who is in this group of the issuer holds this role in the team, or organisation-wide where `team_id` is empty."""

    __tablename__ = "group_mappings"
    __table_args__ = (
        CheckConstraint("btrim(group_name) <> ''", name="has_group"),
        CheckConstraint("role NOT IN ('member', 'job')", name="implicit_roles_are_not_mapped"),
        UniqueConstraint("group_name", "team_id", "role", postgresql_nulls_not_distinct=True),
    )

    id: Mapped[Id]
    group_name: Mapped[str]
    team_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"), index=True)
    role: Mapped[str] = mapped_column(ForeignKey("roles.name"))
    created_at: Mapped[Timestamp]
    created_by: Mapped[UUID | None]


class Session(Base):
    """A person signed in with a browser. Its token's hash is the cookie's; the token ends whenever one of these does.

    `fresh_until` is when the issuer is asked again who they are, with the refresh token, which is encrypted;
    `refreshing_until` keeps two requests from asking at once, as a refresh token counts once.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("idle_seconds > 0", name="idle_seconds_positive"),
        CheckConstraint("ends_at > created_at", name="ends_after_creation"),
        CheckConstraint(
            "num_nonnulls(refresh_key, refresh_nonce, refresh_token) IN (0, 3)", name="refresh_token_whole"
        ),
        Index("ix_sessions_user_id", "user_id"),
    )

    id: Mapped[Id] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    issuer: Mapped[str]
    address: Mapped[str | None]
    client: Mapped[str | None]
    created_at: Mapped[Timestamp]
    ends_at: Mapped[Timestamp]
    idle_seconds: Mapped[int]
    fresh_until: Mapped[Timestamp]
    refreshing_until: Mapped[datetime | None]
    refresh_key: Mapped[str | None]
    refresh_nonce: Mapped[bytes | None] = mapped_column(LargeBinary)
    refresh_token: Mapped[bytes | None] = mapped_column(LargeBinary)


class FailedSignIn(Base):
    """How often one neighbourhood of addresses failed to sign in since the minute began that is counted.

    `recorded` of these stand in the record by themselves, in this minute; `unrecorded` are to be told of together,
    also of minutes before.
    """

    __tablename__ = "failed_sign_ins"
    __table_args__ = (
        Index("ix_failed_sign_ins_since", "since"),
        Index("ix_failed_sign_ins_recorded", "since", postgresql_where=text("recorded > 0")),
    )

    address: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[Timestamp]
    failures: Mapped[int]
    recorded: Mapped[int]
    unrecorded: Mapped[int]


class PolicyState(Base):
    """The number of the policy in force, in one row; triggers on what decisions rest on raise it with each change."""

    __tablename__ = "policy_state"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(BigInteger)


class PolicyChange(Base):
    """Who or what a version of the policy changed: a process reads that, and not everything.

    `ALL` stands for more than is worth a list. `place` counts within a version.
    """

    __tablename__ = "policy_changes"
    __table_args__ = (CheckConstraint("kind IN ('SUBJECT', 'TEAM', 'ROLES', 'ALL')", name="kind"),)

    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    key: Mapped[UUID | None]


class EmergencyRole(Base):
    """A role that somebody took in an emergency, for a short time and with a reason: an alarm until it is reviewed."""

    __tablename__ = "emergency_roles"
    __table_args__ = (
        CheckConstraint("btrim(reason) <> ''", name="has_reason"),
        CheckConstraint("ends_at > starts_at", name="ends_after_start"),
        CheckConstraint("num_nonnulls(reviewed_at, reviewed_by, review) IN (0, 3)", name="review_whole"),
        CheckConstraint("reviewed_by <> user_id", name="reviewed_by_another"),
        Index("ix_emergency_roles_starts_at", "starts_at", "id"),
    )

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    role: Mapped[str] = mapped_column(ForeignKey("roles.name"))
    team_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"))
    reason: Mapped[str]
    starts_at: Mapped[Timestamp]
    ends_at: Mapped[Timestamp]
    reviewed_at: Mapped[datetime | None]
    reviewed_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    review: Mapped[str | None]


class EmergencyRecipient(Base):
    """Somebody was given a role in an emergency, also where it was taken away since: they review none of it."""

    __tablename__ = "emergency_recipients"
    __table_args__ = (CheckConstraint("subject_kind IN ('USER', 'SERVICE_ACCOUNT')", name="subject_kind"),)

    emergency_id: Mapped[UUID] = mapped_column(ForeignKey("emergency_roles.id"), primary_key=True)
    subject_kind: Mapped[str] = mapped_column(primary_key=True)
    subject_id: Mapped[UUID] = mapped_column(primary_key=True)
