"""The tables of the marketplace. What keeps the ledger whole lives in the database: see the SQL of migration 0003."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    SmallInteger,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, MicroCredits, Timestamp
from guildhall.slugs import SLUG_PATTERN

TREASURY_ID = UUID("00000000-0000-7000-8000-000000000001")
POOL_REVENUE_ID = UUID("00000000-0000-7000-8000-000000000002")
ROYALTIES_ID = UUID("00000000-0000-7000-8000-000000000003")
EXPIRED_ID = UUID("00000000-0000-7000-8000-000000000004")
SYSTEM_ACCOUNT_IDS = (TREASURY_ID, POOL_REVENUE_ID, ROYALTIES_ID, EXPIRED_ID)
"""Accounts without a balance row, made by the migration: never locked, so never hot."""

CREDITS_MAX = 10**18
"""The most micro-credits that one amount may hold: a million million credits. Nine such sums still fit a bigint."""

_SYSTEM = "'" + "', '".join(str(account) for account in SYSTEM_ACCOUNT_IDS) + "'"


class StrategicClass(StrEnum):
    """How much a programme matters to the organisation; where jobs wait, A goes first."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"


class AccountKind(StrEnum):
    """What an account stands for; only an ALLOCATION belongs to a team and has a balance row."""

    ALLOCATION = "ALLOCATION"
    TREASURY = "TREASURY"
    POOL_REVENUE = "POOL_REVENUE"
    ROYALTIES = "ROYALTIES"
    EXPIRED = "EXPIRED"


class TransferKind(StrEnum):
    """Why credits move. HOLD is pending; CAPTURE and RELEASE resolve one."""

    ALLOCATION = "ALLOCATION"
    HOLD = "HOLD"
    CAPTURE = "CAPTURE"
    RELEASE = "RELEASE"
    EXPIRY = "EXPIRY"
    RETURN = "RETURN"
    SEND = "SEND"
    REFUND = "REFUND"


class TransferPhase(StrEnum):
    """PENDING only reserves; POSTED moves; VOIDED and EXPIRED give a reservation up and move nothing."""

    PENDING = "PENDING"
    POSTED = "POSTED"
    VOIDED = "VOIDED"
    EXPIRED = "EXPIRED"


class Tier(StrEnum):
    """How surely a job keeps its place: what is PREEMPTIBLE may be stopped for others."""

    GUARANTEED = "GUARANTEED"
    STANDARD = "STANDARD"
    PREEMPTIBLE = "PREEMPTIBLE"


def one_of(column: str, values: type[StrEnum]) -> str:
    """The CHECK that a text column holds one of the values."""
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class Programme(Base):
    """What credits are for; its class decides who goes first in a queue."""

    __tablename__ = "programmes"
    __table_args__ = (
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
        CheckConstraint(one_of("strategic_class", StrategicClass), name="strategic_class_known"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    strategic_class: Mapped[str]
    created_at: Mapped[Timestamp]


class Period(Base):
    """A stretch of time for which credits are given out, as a quarter."""

    __tablename__ = "periods"
    __table_args__ = (
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
        CheckConstraint("starts_at < ends_at", name="not_empty"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    starts_at: Mapped[Timestamp]
    ends_at: Mapped[Timestamp]
    created_at: Mapped[Timestamp]


class Account(Base):
    """One side of transfers: an allocation, or one of the organisation's own four."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint(one_of("kind", AccountKind), name="kind_known"),
        CheckConstraint(f"(kind = 'ALLOCATION') = (id NOT IN ({_SYSTEM}))", name="system_accounts_fixed"),
    )

    id: Mapped[Id]
    kind: Mapped[str]


class Allocation(Base):
    """Credits given to a team for a programme and a time; an account of its own, with the same id. Never changed."""

    __tablename__ = "allocations"
    __table_args__ = (
        CheckConstraint("valid_from < valid_to", name="not_empty"),
        Index("ix_allocations_wallet", "team_id", "programme_id", "valid_to"),
        Index("ix_allocations_valid_to", "valid_to"),
    )

    id: Mapped[UUID] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    programme_id: Mapped[UUID] = mapped_column(ForeignKey("programmes.id"))
    period_id: Mapped[UUID | None] = mapped_column(ForeignKey("periods.id"))
    valid_from: Mapped[Timestamp]
    valid_to: Mapped[Timestamp]
    reason: Mapped[str]
    created_at: Mapped[Timestamp]


class Balance(Base):
    """What became of an allocation's credits; written by the trigger on transfers alone.

    `remaining` is computed, so the identity holds by construction, and CHECK keeps each figure at zero or above.
    `version` counts the transfers that touched the account: the nth change is explained by the transfer with version n.
    """

    __tablename__ = "balances"
    __table_args__ = (
        # One expression each: PostgreSQL reads the CHECKs of a table anew in every statement.
        CheckConstraint("remaining >= 0", name="remaining_not_negative"),
        CheckConstraint(
            "least(allocated, received, captured, held, expired, returned, sent) >= 0", name="figures_not_negative"
        ),
        # Updates of a hot row stay on its page.
        {"postgresql_with": {"fillfactor": 40}},
    )

    account_id: Mapped[UUID] = mapped_column(ForeignKey("allocations.id"), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)
    allocated: Mapped[MicroCredits]
    received: Mapped[MicroCredits]
    captured: Mapped[MicroCredits]
    held: Mapped[MicroCredits]
    expired: Mapped[MicroCredits]
    returned: Mapped[MicroCredits]
    sent: Mapped[MicroCredits]
    remaining: Mapped[int] = mapped_column(
        BigInteger,
        Computed("allocated + received - captured - held - expired - returned - sent", persisted=True),
        nullable=False,
    )


class Hold(Base):
    """Credits reserved for one job, by a pending transfer for each allocation that it draws from. Never changed.

    Team and programme are those of the allocations, which a trigger checks; foreign keys would lock the team's row.
    """

    __tablename__ = "holds"
    __table_args__ = (
        CheckConstraint(f"credits BETWEEN 0 AND {CREDITS_MAX} AND placed_at < expires_at", name="credits_for_a_time"),
        Index("ix_holds_job_id", "job_id"),
        Index("ix_holds_team_id", "team_id"),
    )

    id: Mapped[Id]
    team_id: Mapped[UUID]
    programme_id: Mapped[UUID]
    job_id: Mapped[UUID | None]
    credits: Mapped[MicroCredits]
    placed_at: Mapped[Timestamp]
    expires_at: Mapped[Timestamp]


class HoldResolution(Base):
    """How a hold ended. Its key is the hold's: a hold resolves at most once."""

    __tablename__ = "hold_resolutions"
    __table_args__ = (
        CheckConstraint(
            "phase = 'POSTED' OR (phase IN ('VOIDED', 'EXPIRED') AND captured = 0)", name="only_posting_captures"
        ),
        CheckConstraint("captured >= 0 AND expired >= 0 AND expired <= released", name="figures_fit"),
    )

    hold_id: Mapped[UUID] = mapped_column(ForeignKey("holds.id"), primary_key=True)
    phase: Mapped[str]
    captured: Mapped[MicroCredits]
    released: Mapped[MicroCredits]
    expired: Mapped[MicroCredits]
    reason: Mapped[str]
    resolved_at: Mapped[Timestamp]


class Transfer(Base):
    """Credits from one account to another. Append only; a correction is another transfer, with a reason.

    `pending_id` names the HOLD that a CAPTURE or RELEASE resolves, `pending_credits` its amount: what a CAPTURE does
    not take is released. `refunds_id` names the CAPTURE that a REFUND gives back from. The versions count the touched
    allocation's transfers and are set by the database.

    Which phase, sides and references fit a kind is checked by the trigger that applies the transfer, where it costs a
    tenth of what CHECKs do. There are no foreign keys: the same trigger looks up what a transfer names, and rows of the
    ledger are never deleted. A foreign key would lock the treasury's row in every transfer, and make it hot.
    """

    __tablename__ = "transfers"
    __table_args__ = (
        CheckConstraint(
            f"credits BETWEEN 1 AND {CREDITS_MAX} AND from_account_id <> to_account_id",
            name="credits_between_two_accounts",
        ),
        UniqueConstraint("from_account_id", "from_version"),
        UniqueConstraint("to_account_id", "to_version"),
        UniqueConstraint("pending_id"),
        Index("ix_transfers_received", text("ledger_id(id, 1)"), postgresql_where=text("kind = 'SEND'")),
        Index("ix_transfers_hold_id", "hold_id"),
        Index("ix_transfers_refunds_id", "refunds_id", postgresql_where=text("refunds_id IS NOT NULL")),
    )

    id: Mapped[Id]
    occurred_at: Mapped[Timestamp]
    kind: Mapped[str]
    phase: Mapped[str]
    from_account_id: Mapped[UUID]
    to_account_id: Mapped[UUID]
    credits: Mapped[MicroCredits]
    pending_id: Mapped[UUID | None]
    pending_credits: Mapped[int | None] = mapped_column(BigInteger)
    refunds_id: Mapped[UUID | None]
    hold_id: Mapped[UUID | None]
    job_id: Mapped[UUID | None]
    reason: Mapped[str]
    from_version: Mapped[int | None] = mapped_column(BigInteger)
    to_version: Mapped[int | None] = mapped_column(BigInteger)


class LedgerOperation(Base):
    """One money operation under its idempotency key: a hash of its input, and the first answer. Never changed."""

    __tablename__ = "ledger_operations"

    key: Mapped[str] = mapped_column(primary_key=True)
    operation: Mapped[str]
    input_hash: Mapped[bytes]
    answer: Mapped[dict[str, Any]]
    occurred_at: Mapped[Timestamp]


class PriceList(Base):
    """Rates that hold from a moment on; the list that began last decides, quotes already made keep their own copy."""

    __tablename__ = "price_lists"
    __table_args__ = (
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
        CheckConstraint("valid_from < valid_to", name="not_empty"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    valid_from: Mapped[Timestamp]
    valid_to: Mapped[datetime | None]
    created_at: Mapped[Timestamp]


class Rate(Base):
    """What one accelerator-hour costs on a pool in a tier, always or in some hours of the week (UTC).

    `days` are ISO weekdays (1 is Monday) on which the window begins; `from_minute` to `to_minute` are minutes of the
    day, over midnight where `to_minute` is not later. All three are empty in a rate that holds always. `pool_id` has no
    foreign key: pools live in a package above. The times repeat the price list's, so that a rate can stand by itself.
    """

    __tablename__ = "rates"
    __table_args__ = (
        CheckConstraint(one_of("tier", Tier), name="tier_known"),
        CheckConstraint(f"credits_per_hour BETWEEN 0 AND {CREDITS_MAX}", name="credits_in_range"),
        CheckConstraint(
            "days <@ ARRAY[1, 2, 3, 4, 5, 6, 7]::smallint[] AND cardinality(days) > 0", name="days_of_week"
        ),
        CheckConstraint("from_minute BETWEEN 0 AND 1439", name="from_minute_of_day"),
        CheckConstraint("to_minute BETWEEN 0 AND 1440", name="to_minute_of_day"),
        CheckConstraint(
            "(days IS NULL) = (from_minute IS NULL) AND (days IS NULL) = (to_minute IS NULL)", name="hours_whole"
        ),
        UniqueConstraint("price_list_id", "pool_id", "tier", "position"),
        Index("ix_rates_pool_id", "pool_id"),
    )

    id: Mapped[Id]
    price_list_id: Mapped[UUID] = mapped_column(ForeignKey("price_lists.id", ondelete="CASCADE"))
    pool_id: Mapped[UUID]
    tier: Mapped[str]
    position: Mapped[int]
    days: Mapped[list[int] | None] = mapped_column(ARRAY(SmallInteger))
    from_minute: Mapped[int | None] = mapped_column(SmallInteger)
    to_minute: Mapped[int | None] = mapped_column(SmallInteger)
    credits_per_hour: Mapped[MicroCredits]
    valid_from: Mapped[Timestamp]
    valid_to: Mapped[datetime | None]


class Quote(Base):
    """A binding offer: the normalised job, the rates it was made at, and what follows from them.

    `snapshot` holds the tariffs of the eligible pools (`marketplace.tariffs`, by pool id), `segments` the predicted
    course, `excluded` a reason for each pool left out, `suggestions` what else the caller may want to know. Only its
    acceptance is ever written to the row.
    """

    __tablename__ = "quotes"
    __table_args__ = (
        CheckConstraint(f"estimated_price BETWEEN 0 AND {CREDITS_MAX}", name="estimated_price_in_range"),
        CheckConstraint(f"hold BETWEEN 0 AND {CREDITS_MAX}", name="hold_in_range"),
        CheckConstraint("estimated_price <= hold", name="hold_covers_estimate"),
        CheckConstraint("created_at < expires_at", name="not_empty"),
        CheckConstraint("(accepted_at IS NULL) = (job_id IS NULL)", name="acceptance_whole"),
        CheckConstraint("accepted_at IS NULL OR accepted_at < expires_at", name="accepted_in_time"),
        UniqueConstraint("job_id"),
        Index("ix_quotes_team_id", "team_id"),
    )

    id: Mapped[Id]
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    programme_id: Mapped[UUID] = mapped_column(ForeignKey("programmes.id"))
    requested_by: Mapped[UUID]
    job: Mapped[dict[str, Any]] = mapped_column(JSONB)
    snapshot: Mapped[dict[str, Any]] = mapped_column(JSONB)
    segments: Mapped[list[Any]] = mapped_column(JSONB)
    estimated_price: Mapped[MicroCredits]
    hold: Mapped[MicroCredits]
    predicted_start: Mapped[datetime | None]
    predicted_energy_watt_hours: Mapped[int | None] = mapped_column(BigInteger)
    predicted_carbon_grams: Mapped[int | None] = mapped_column(BigInteger)
    start_by: Mapped[Timestamp]
    created_at: Mapped[Timestamp]
    expires_at: Mapped[Timestamp]
    eligible_pool_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid(as_uuid=True)))
    excluded: Mapped[list[Any]] = mapped_column(JSONB)
    suggestions: Mapped[list[Any]] = mapped_column(JSONB)
    accepted_at: Mapped[datetime | None]
    job_id: Mapped[UUID | None]
