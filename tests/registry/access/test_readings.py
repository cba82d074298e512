"""What a narrowed grant opens of the models that were made from the data: those from no more than it lets through."""

from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.clock import new_id
from registry.access.decision import AccessDecision, decide_read
from registry.access.narrowing import Narrowing
from registry.access.withdrawal import withdraw_access
from registry.datasets.tables import Classification
from registry.lineage.edges import LineageSource
from registry.lineage.tables import LineageEdge, NodeKind
from registry.models.run_outputs import register_run_output
from registry.models.tables import ModelVersion
from tests.registry.estate import approved, asked, dataset_ref, model_ref, registered, version_ref, versioned
from tests.registry.house import FILE, House

NARROW = Narrowing(columns=["image"])


class Workshop:
    """Data of two columns, of which Quality was granted one; Quality makes models of it."""

    def __init__(self, house: House, dataset: UUID, data: UUID) -> None:
        self.house, self.dataset, self.data = house, dataset, data

    async def train(self, *, since_known: bool = True, under_grant: bool = True, by: str = "paul") -> UUID:
        """A model version of Quality that a job made of the data."""
        house, job = self.house, self.house.job("quality", by)
        made = await register_run_output(
            house.session,
            job,
            model_id=await house.model(f"dial-{new_id().hex[-6:]}", by="quinn", team="quality"),
            files=[FILE],
            metrics=[],
            parameters={},
            environment={"python": "3.11", "platform": "Linux", "packages": {}},
            inputs=[LineageSource(NodeKind.DATASET_VERSION, self.data)],
            read_since=house.at if since_known else None,
            read_under_grants={self.data} if under_grant else (),
            package_id=None,
            job_id=job.id,
            card={},
            at=house.at,
            new_id=new_id,
        )
        await house.change(ModelVersion, made.model_version_id, ready_at=house.at)
        return made.model_version_id

    async def under(self, version: UUID) -> list[UUID] | None:
        statement = select(LineageEdge.access_grant_ids).where(
            LineageEdge.from_id == version, LineageEdge.to_id == self.data
        )
        return (await self.house.session.scalars(statement)).one()

    async def decide(self, version: UUID) -> AccessDecision:
        return await decide_read(
            self.house.session, actor_user_id=self.house.people["quinn"], team_ids={self.house.teams["quality"]},
            resource=model_ref(version), purpose=None, at=self.house.at,
        )  # fmt: skip


@pytest.fixture
async def workshop(house: House) -> Workshop:
    dataset = await registered(house)
    return Workshop(house, dataset, await versioned(house, dataset))


class TestANarrowedGrant:
    async def test_opens_what_the_team_made_of_what_it_was_given(self, workshop: Workshop) -> None:
        narrow = await approved(
            workshop.house, await asked(workshop.house, [dataset_ref(workshop.dataset)]), narrow=NARROW
        )
        version = await workshop.train()
        assert await workshop.under(version) == [narrow]
        decision = await workshop.decide(version)
        assert (decision.allowed, decision.grant_id, decision.limits) == (True, narrow, None)

    async def test_opens_nothing_that_a_grant_of_somebody_s_own_let_in(self, workshop: Workshop) -> None:
        """Paul may read all of it himself: what his job made of it is more than Quality was given."""
        house = workshop.house
        narrow = await approved(house, await asked(house, [dataset_ref(workshop.dataset)]), narrow=NARROW)
        whole = await approved(house, await asked(house, [version_ref(workshop.data)], email="paul@example.org"))
        version = await workshop.train()
        assert await workshop.under(version) == sorted([narrow, whole])
        decision = await workshop.decide(version)
        assert decision.reason is not None
        assert decision.reason.code == "COLUMNS_NOT_GRANTED"
        assert (await workshop.decide(await workshop.train(by="quinn"))).allowed

    async def test_what_ended_before_the_run_was_not_read_under(self, workshop: Workshop) -> None:
        house = workshop.house
        narrow = await approved(house, await asked(house, [dataset_ref(workshop.dataset)]), narrow=NARROW)
        whole = await approved(house, await asked(house, [version_ref(workshop.data)], email="paul@example.org"))
        await withdraw_access(
            house.session, house.actor("mia"), access_grant_id=whole, reason="A mistake.", at=house.at, new_id=new_id
        )
        version = await workshop.train()
        assert await workshop.under(version) == [narrow]
        assert (await workshop.decide(version)).allowed

    async def test_opens_nothing_of_which_nobody_knows_how_it_was_read(self, workshop: Workshop) -> None:
        await approved(workshop.house, await asked(workshop.house, [dataset_ref(workshop.dataset)]), narrow=NARROW)
        version = await workshop.train(since_known=False)
        assert await workshop.under(version) is None
        assert not (await workshop.decide(version)).allowed

    async def test_nor_what_was_opened_by_role_and_closed_during_the_run(self, workshop: Workshop) -> None:
        """A narrow grant of later than the opening says nothing of what was read."""
        await approved(workshop.house, await asked(workshop.house, [dataset_ref(workshop.dataset)]), narrow=NARROW)
        version = await workshop.train(under_grant=False)
        assert await workshop.under(version) is None
        decision = await workshop.decide(version)
        assert decision.reason is not None
        assert decision.reason.code == "COLUMNS_NOT_GRANTED"

    async def test_nor_what_went_by_role(self, workshop: Workshop) -> None:
        """When it is closed later, all of it may have been read."""
        house = workshop.house
        workshop.dataset = await registered(house, "open-dials", classification=Classification.INTERNAL)
        workshop.data = await versioned(house, workshop.dataset)
        assert await workshop.under(await workshop.train()) is None
