"""What a yard can be furnished with beyond its first state: other prices, empty wallets, rivals' models, more data."""

from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

from sqlalchemy import insert, select

from guildhall.auth.actor import Actor
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database, WriteSession
from marketplace.ledger import return_credits
from marketplace.price_configuration import PriceListSetting, RateSetting, apply_price_lists
from marketplace.tables import Allocation, Balance, Programme, Tier
from registry.artifacts.tables import Artifact
from registry.datasets.tables import Dataset, DatasetVersion
from registry.lessons.tables import Lesson
from registry.models.registering import register_model
from registry.models.tables import ModelVersion, RiskTier
from scheduler.configuration import pools_by_name

CREDIT = 1_000_000


class Furnishing:
    """Of a yard, which has these."""

    database: Database
    clock: SimulatedClock
    teams: dict[str, UUID]
    people: dict[str, UUID]
    model_id: UUID

    def actor(self, name: str) -> Actor:
        raise NotImplementedError

    async def allocate(self, team: str, programme: str, credits: int) -> UUID:
        raise NotImplementedError

    async def drain(self, session: WriteSession, team: str, programme: str, *, leave: int) -> None:
        """Hand back all of a wallet but so much."""
        rows = await session.execute(
            select(Allocation.id, Balance.remaining)
            .join(Balance, Balance.account_id == Allocation.id)
            .join(Programme, Programme.id == Allocation.programme_id)
            .where(Allocation.team_id == self.teams[team], Programme.name == programme)
        )
        for allocation_id, remaining in rows.all():
            await return_credits(
                session, allocation_id=allocation_id, credits=remaining - leave, reason="a test", at=self.clock.now(),
                key=f"drain {allocation_id}",
            )  # fmt: skip

    async def reprice(self, session: WriteSession, *, factor: int, pools: Sequence[str] = ("small", "big")) -> None:
        """A price list that begins now and is so many times dearer."""
        rates = [
            RateSetting(pool, tier, factor * 2 * CREDIT) for pool in pools for tier in (Tier.STANDARD, Tier.GUARANTEED)
        ]
        prices = PriceListSetting("new-prices", self.clock.now(), rates)
        known = await pools_by_name(session)
        await apply_price_lists(session, self.actor("alla"), [prices], pools=known, at=self.clock.now(), new_id=new_id)

    async def refresh_prices_and_credits(self) -> None:
        """Credits that are valid now, whichever clock the yard has got; prices hold for ever anyway."""
        for team in self.teams:
            await self.allocate(team, "zero", 1_000 * CREDIT)

    async def publish_rival_model(self) -> None:
        """Quality's published model for the same task, and a lesson on Maintenance's own."""
        at = self.clock.now()
        async with self.database.transaction() as session:
            model_id = await register_model(
                session, self.actor("quinn"), team="quality", name="dial-reader", task="image-classification",
                description="Reads dials.", risk_tier=RiskTier.LOW, at=at, new_id=new_id,
            )  # fmt: skip
            await session.execute(
                insert(ModelVersion).values(
                    id=new_id(), model_id=model_id, number=1, status="PUBLISHED", parameters={},
                    effective_classification="PUBLIC", created_by=self.people["quinn"], created_at=at, ready_at=at,
                    published_at=at,
                )
            )  # fmt: skip
            await session.execute(
                insert(Lesson).values(
                    id=new_id(), subject_kind="MODEL_VERSION", subject_id=new_id(), team_id=self.teams["maintenance"],
                    model_id=self.model_id, summary="fails on glare", body="", outcome="MIXED", tags=[],
                    author_kind="USER", author_id=self.people["anna"], created_at=at,
                )
            )  # fmt: skip

    async def add_dataset(self, name: str) -> UUID:
        """An open data set of the same team with one file; the id of its version."""
        at, dataset_id, version_id = self.clock.now(), new_id(), new_id()
        made = {"created_at": at, "created_by": self.people["anna"]}
        async with self.database.transaction() as session:
            await session.execute(
                insert(Dataset).values(
                    id=dataset_id, team_id=self.teams["maintenance"], name=name, description="More.",
                    visibility="ORGANISATION", classification="PUBLIC", licence="CC0-1.0", legal_basis="none",
                    permitted_purposes=["quality"], regions=["eu"], **made,
                )
            )  # fmt: skip
            await session.execute(
                insert(DatasetVersion).values(
                    id=version_id, dataset_id=dataset_id, number=1, state="READY", columns=[], ready_at=at, **made
                )
            )
            await session.execute(
                insert(Artifact).values(
                    id=new_id(), owner_kind="DATASET_VERSION", owner_id=version_id, path="more.csv", size_bytes=3,
                    sha256=sha256(b"abc").hexdigest(), media_type="text/csv", state="STORED", created_at=at,
                    stored_at=at,
                )
            )  # fmt: skip
        return version_id
