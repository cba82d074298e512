"""Rivals that truly commit: one is held until the other waits for it, so that the order is forced, not hoped for."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update

from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database, WriteSession
from guildhall.errors import Conflict
from registry.adoption.adopting import AlreadyAdopted, adopt_model
from registry.adoption.tables import Adoption
from registry.datasets.tables import Classification, Dataset
from registry.lessons.recording import lesson_subject_for_registry, record_lesson
from registry.lessons.tables import LessonOutcome, SubjectKind
from registry.lineage.restrictions import recompute_effective
from registry.models.aliases import VersionNotUsable, set_alias
from registry.models.publication import AliasInUse, withdraw_publication
from registry.models.run_outputs import register_run_output
from registry.models.tables import Alias, Model, ModelVersion
from registry.search.finding import matching_models, search_query
from tests.registry.house import FILE, House, trained_on

Act = Callable[[House], Awaitable[Any]]
_POLLS_MAX = 1_000
_WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


class Rivals:
    """A house whose people act in transactions of their own."""

    def __init__(self, database: Database, house: House) -> None:
        self.database = database
        self.house = house

    def within(self, session: WriteSession) -> House:
        """The same house in another session."""
        other = House.__new__(House)
        other.__dict__ = {**self.house.__dict__, "session": session}
        return other

    async def do(self, act: Act) -> Any:
        """Act and commit."""
        async with self.database.transaction() as session:
            return await act(self.within(session))

    async def one_then_other(self, first: Act, second: Act) -> tuple[Any, Any]:
        """`second` begins when `first` has acted, and waits for it; then `first` commits."""
        async with self.database.transaction() as session:
            one = await first(self.within(session))
            task = asyncio.create_task(self.do(second))
            await self._until_blocked(task)
        return one, await asyncio.gather(task, return_exceptions=True)

    async def _until_blocked(self, task: "asyncio.Task[Any]") -> None:
        for _ in range(_POLLS_MAX):
            assert not task.done(), "the rival did not wait"
            async with self.database.read() as session:
                if await session.scalar(_WAITING):
                    return
        raise AssertionError("the rival is stuck elsewhere")


@pytest.fixture
async def rivals(fresh_database: Database, clock: SimulatedClock) -> Rivals:
    async with fresh_database.transaction() as session:
        house = await House(session, clock.now()).build()
    return Rivals(fresh_database, house)


async def tighten(house: House, dataset: UUID) -> None:
    values = {"classification": Classification.RESTRICTED, "retention_ends_on": date(2027, 1, 1)}
    await house.session.execute(update(Dataset).where(Dataset.id == dataset).values(**values))
    await recompute_effective(house.session, dataset_ids=[dataset])


class TestRestrictions:
    @pytest.fixture
    async def made(self, rivals: Rivals) -> tuple[UUID, UUID, UUID]:
        async def make(house: House) -> tuple[UUID, UUID, UUID]:
            dataset = await house.dataset()
            return dataset, await house.dataset_version(dataset), await house.model()

        found: tuple[UUID, UUID, UUID] = await rivals.do(make)
        return found

    @pytest.mark.parametrize("tightened_first", [True, False])
    async def test_a_version_made_while_its_data_is_tightened(
        self, rivals: Rivals, made: tuple[UUID, UUID, UUID], tightened_first: bool
    ) -> None:
        dataset, data, model = made

        async def make(house: House) -> UUID:
            return await house.version(model, sources=[trained_on(data)])

        async def change(house: House) -> None:
            await tighten(house, dataset)

        if tightened_first:
            _, (version,) = await rivals.one_then_other(change, make)
        else:
            version, _ = await rivals.one_then_other(make, change)
        row = await rivals.do(lambda house: house.facts(version))
        assert (row.effective_classification, row.effective_retention_ends_on) == ("RESTRICTED", date(2027, 1, 1))


class TestNumbers:
    async def test_many_at_once_count_up(self, rivals: Rivals) -> None:
        model = await rivals.do(lambda house: house.model())
        await asyncio.gather(*(rivals.do(lambda house: house.version(model)) for _ in range(8)))

        async def numbers(house: House) -> list[int]:
            return list(await house.session.scalars(select(ModelVersion.number).order_by(ModelVersion.number)))

        assert await rivals.do(numbers) == [1, 2, 3, 4, 5, 6, 7, 8]


class TestRunOutput:
    async def test_one_attempt_that_reports_twice_at_once(self, rivals: Rivals) -> None:
        model = await rivals.do(lambda house: house.model())
        job = rivals.house.job("maintenance", "carl")

        async def report(house: House) -> UUID:
            output = await register_run_output(
                house.session,
                job,
                model_id=model,
                files=[FILE],
                metrics=[],
                parameters={},
                environment={"python": "3.11"},
                inputs=[],
                package_id=None,
                job_id=job.id,
                card={},
                at=house.at,
                new_id=new_id,
            )
            return output.model_version_id

        first, (second,) = await rivals.one_then_other(report, report)
        assert first == second
        assert await rivals.do(lambda house: house.count(ModelVersion)) == 1


class TestAliasesAndPublication:
    async def test_an_alias_cannot_catch_a_version_that_is_being_withdrawn(self, rivals: Rivals) -> None:
        model = await rivals.do(lambda house: house.model())
        version = await rivals.do(lambda house: house.published(model))

        async def withdraw(house: House) -> None:
            await withdraw_publication(
                house.session,
                house.actor("anna"),
                model_version_id=version,
                reason="wrong",
                at=house.at,
                new_id=new_id,
            )

        async def point(house: House) -> UUID:
            return await set_alias(
                house.session,
                house.actor("anna"),
                model_id=model,
                name="champion",
                model_version_id=version,
                reason="best",
                protected=True,
                at=house.at,
                new_id=new_id,
            )

        _, (refused,) = await rivals.one_then_other(withdraw, point)
        assert isinstance(refused, VersionNotUsable)
        assert await rivals.do(lambda house: house.count(Alias)) == 0

        other = await rivals.do(lambda house: house.published(model))
        version = other
        _, (refused,) = await rivals.one_then_other(point, withdraw)
        assert isinstance(refused, AliasInUse)
        assert (await rivals.do(lambda house: house.facts(other))).status == "PUBLISHED"

    async def test_two_who_make_the_same_alias(self, rivals: Rivals) -> None:
        model = await rivals.do(lambda house: house.model())
        versions = [await rivals.do(lambda house: house.version(model)) for _ in range(2)]

        def point(version: UUID) -> Act:
            async def act(house: House) -> UUID:
                return await set_alias(
                    house.session,
                    house.actor("anna"),
                    model_id=model,
                    name="candidate",
                    model_version_id=version,
                    reason="try",
                    at=house.at,
                    new_id=new_id,
                )

            return act

        first, (second,) = await rivals.one_then_other(point(versions[0]), point(versions[1]))

        async def stored(house: House) -> list[UUID]:
            return list(await house.session.scalars(select(Alias.model_version_id)))

        assert (first == second, await rivals.do(stored)) == (True, [versions[1]])


class TestAdoption:
    async def test_one_of_two(self, rivals: Rivals) -> None:
        model = await rivals.do(lambda house: house.model())
        version = await rivals.do(lambda house: house.published(model))

        async def adopt(house: House) -> UUID:
            return await adopt_model(
                house.session,
                house.actor("paul"),
                model_version_id=version,
                team="quality",
                purpose="line 3",
                at=house.at,
                new_id=new_id,
            )

        _, (refused,) = await rivals.one_then_other(adopt, adopt)
        assert isinstance(refused, AlreadyAdopted)
        assert isinstance(refused, Conflict)
        assert await rivals.do(lambda house: house.count(Adoption)) == 1


class TestSearch:
    async def test_two_lessons_at_once_are_both_found(self, rivals: Rivals) -> None:
        model = await rivals.do(lambda house: house.model())
        version = await rivals.do(lambda house: house.version(model))

        def learn(summary: str) -> Act:
            async def act(house: House) -> None:
                actor = house.actor("carl")
                subject = await lesson_subject_for_registry(house.session, actor, SubjectKind.MODEL_VERSION, version)
                await record_lesson(
                    house.session,
                    actor,
                    subject=subject,
                    summary=summary,
                    body="",
                    outcome=LessonOutcome.WORKED,
                    at=house.at,
                    new_id=new_id,
                )

            return act

        async def found(house: House) -> list[int]:
            counts = []
            for word in ("glare", "torque"):
                matching = matching_models(search_query(word))
                counts.append(
                    len((await house.session.scalars(select(Model.id).join(matching, matching.c.id == Model.id))).all())
                )
            return counts

        await rivals.one_then_other(learn("Glare blinds it."), learn("Torque helps."))
        assert await rivals.do(found) == [1, 1]
