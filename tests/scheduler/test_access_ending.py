"""Running jobs whose access ends: stopped or flagged, as the data set's policy says; others are left alone."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select, true, update

from guildhall.auth.tables import ServiceAccount, User
from guildhall.clock import new_id
from registry.access.tables import AccessGrant, AccessGrantResource
from registry.datasets.tables import Dataset, DatasetVersion
from registry.lineage.restrictions import recompute_effective
from registry.models.declaring import create_model_version
from registry.models.uploading import finish_version
from scheduler import access_ending
from scheduler.jobs.spec import InputKind, InputSpec
from scheduler.jobs.tables import InputOpening, Job, JobEvent
from tests.registry.house import FILE, trained_on
from tests.scheduler.yard import Yard


@pytest.fixture
async def running(yard: Yard) -> UUID:
    """A job that has staged its input under the grant that is there."""
    return await staged(yard, await yard.grant())


async def staged(yard: Yard, grant_id: UUID | None, of: InputSpec | None = None) -> UUID:
    """A job that runs, and has opened its input under this grant, or by role."""
    job_id = await yard.submit(yard.spec(inputs=(of or yard.digits(),)))
    await yard.cycle(times=3)
    attempt = await yard.attempt(job_id)
    async with yard.database.transaction() as session:
        session.add(
            InputOpening(
                id=new_id(), attempt_id=attempt.id, index=0, opened_at=yard.clock.now(), access_grant_id=grant_id
            )
        )
    return job_id


async def withdraw(yard: Yard, grant_id: UUID | None = None) -> None:
    """One grant, or all that are there."""
    values = {"withdrawn_at": yard.clock.now(), "withdrawn_by": yard.people["anna"], "withdrawal_reason": "A leak."}
    async with yard.database.transaction() as session:
        which = true() if grant_id is None else AccessGrant.id == grant_id
        await session.execute(update(AccessGrant).where(which).values(values))


async def deactivate(yard: Yard, job_id: UUID) -> None:
    """Whoever submitted the job."""
    submitter = (await yard.job(job_id)).created_by
    async with yard.database.transaction() as session:
        values = {"deactivated_at": yard.clock.now()}
        await session.execute(update(User).where(User.id == submitter).values(values))


async def told(yard: Yard, job_id: UUID) -> list[JobEvent]:
    async with yard.database.read() as session:
        statement = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.code == "ACCESS_ENDED")
        return list(await session.scalars(statement))


class TestRunning:
    async def test_is_told_to_stop_and_why(self, yard: Yard, running: UUID) -> None:
        await withdraw(yard)
        await yard.cycle()
        (event,) = await told(yard, running)
        assert event.state == "STOPPING"
        assert "was withdrawn" in event.message
        job = await yard.job(running)
        assert (job.stop_code, job.state_code) == ("ACCESS_ENDED", "ACCESS_ENDED")
        await yard.cycle(60, times=3)
        assert (await yard.job(running)).state == "FAILED"

    async def test_is_flagged_once_where_the_policy_says_so(self, yard: Yard, running: UUID) -> None:
        async with yard.database.transaction() as session:
            await session.execute(update(Dataset).values(withdrawal_policy="FLAG"))
        await withdraw(yard)
        await yard.cycle(times=3)
        (event,) = await told(yard, running)
        assert (event.state, event.from_state) == ("RUNNING", None)
        job = await yard.job(running)
        assert (job.state, job.state_code, job.stop_code) == ("RUNNING", "ACCESS_ENDED", None)
        flagged = [
            event for event in await yard.events("scheduler:job:settle") if event.after == {"flagged": "ACCESS_ENDED"}
        ]
        assert len(flagged) == 1

    async def test_goes_on_under_another_grant(self, yard: Yard, running: UUID) -> None:
        await withdraw(yard)
        await yard.grant()
        await yard.cycle(times=2)
        assert await told(yard, running) == []
        assert (await yard.job(running)).state == "RUNNING"

    @pytest.mark.parametrize("policy", ["STOP", "FLAG"])
    async def test_does_what_the_policy_says_when_who_submitted_it_is_deactivated(
        self, yard: Yard, running: UUID, policy: str
    ) -> None:
        async with yard.database.transaction() as session:
            await session.execute(update(Dataset).values(withdrawal_policy=policy))
        await deactivate(yard, running)
        await yard.cycle(times=2)
        (event,) = await told(yard, running)
        assert "who submitted it, was deactivated" in event.message
        assert (await yard.job(running)).stop_code == {"STOP": "ACCESS_ENDED", "FLAG": None}[policy]

    async def test_that_reads_by_role_is_told_to_stop_when_the_data_is_closed(self, yard: Yard) -> None:
        await yard.grant()
        running = await staged(yard, None)
        await yard.cycle()
        assert await told(yard, running) == []
        await withdraw(yard)
        await yard.cycle()
        (event,) = await told(yard, running)
        assert event.state == "STOPPING"


async def source(yard: Yard, name: str, classification: str = "CONFIDENTIAL") -> tuple[UUID, UUID]:
    """A data set like the yard's own, with one version, and a grant to it."""
    dataset_id, version_id, grant_id, at = new_id(), new_id(), new_id(), yard.clock.now()
    made = {"created_at": at, "created_by": yard.people["anna"]}
    async with yard.database.transaction() as session:
        await session.execute(
            insert(Dataset).values(
                id=dataset_id, team_id=yard.teams["maintenance"], name=name, description="Dials.",
                visibility="ORGANISATION", classification=classification, licence="CC-BY-4.0", legal_basis="contract",
                permitted_purposes=["quality"], regions=["eu"], **made,
            )
        )  # fmt: skip
        await session.execute(
            insert(DatasetVersion).values(
                id=version_id, dataset_id=dataset_id, number=1, state="READY", columns=[], rows=1, ready_at=at, **made
            )
        )
        await session.execute(
            insert(AccessGrant).values(
                id=grant_id, basis="OWNERSHIP", beneficiary_team_id=yard.teams["maintenance"], justification="a test",
                valid_from=at, valid_to=at + timedelta(days=40), created_at=at,
            )
        )  # fmt: skip
        await session.execute(
            insert(AccessGrantResource).values(grant_id=grant_id, resource_kind="DATASET", resource_id=dataset_id)
        )
    return version_id, grant_id


async def made_of(yard: Yard, *version_ids: UUID) -> InputSpec:
    """A model of these versions of data, as an input."""
    at, anna = yard.clock.now(), yard.actor("anna")
    async with yard.database.transaction() as session:
        made_id = await create_model_version(
            session, anna, model_id=yard.model_id, files=[FILE], sources=[trained_on(each) for each in version_ids],
            at=at, new_id=new_id,
        )  # fmt: skip
        await finish_version(session, anna, made_id, at=at, new_id=new_id)
    return InputSpec(kind=InputKind.MODEL_VERSION, source_id=made_id, mount_path="base", purpose="quality")


async def say(yard: Yard, dataset_id: UUID, **values: Any) -> None:
    """Something else of a data set, and so of what was made from it."""
    async with yard.database.transaction() as session:
        await session.execute(update(Dataset).where(Dataset.id == dataset_id).values(values))
        await recompute_effective(session, dataset_ids=[dataset_id])


async def dataset_of(yard: Yard, version_id: UUID) -> UUID:
    async with yard.database.read() as session:
        return (await session.scalars(select(DatasetVersion.dataset_id).where(DatasetVersion.id == version_id))).one()


class TestSeveralGrants:
    @pytest.mark.parametrize("needed", [True, False])
    async def test_a_model_is_read_no_more_when_any_that_it_needs_is_withdrawn(
        self, yard: Yard, *, needed: bool
    ) -> None:
        first = await yard.grant()
        second_version, second = await source(yard, "gauge-dials")
        _, other = await source(yard, "gauge-bills")
        job_id = await staged(yard, first, await made_of(yard, yard.dataset_version_id, second_version))
        await withdraw(yard, second if needed else other)
        await yard.cycle()
        assert [event.state for event in await told(yard, job_id)] == (["STOPPING"] if needed else [])

    @pytest.mark.parametrize("granted", [True, False])
    async def test_a_model_is_read_no_more_when_a_further_source_is_closed_to_the_team(
        self, yard: Yard, *, granted: bool
    ) -> None:
        first = await yard.grant()
        further_version, further = await source(yard, "gauge-dials", "INTERNAL")
        if not granted:
            await withdraw(yard, further)
        job_id = await staged(yard, first, await made_of(yard, yard.dataset_version_id, further_version))
        await yard.cycle()
        assert await told(yard, job_id) == []
        await say(yard, await dataset_of(yard, further_version), classification="CONFIDENTIAL")
        await yard.cycle()
        assert [event.state for event in await told(yard, job_id)] == ([] if granted else ["STOPPING"])


class TestWhatIsSaidOfTheData:
    @pytest.mark.parametrize("of_model", [False, True])
    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"permitted_purposes": ["research"]}, "It may not be used for quality"),
            ({"retention_ends_on": date(2020, 1, 1)}, "It may not be kept or read after 2020-01-01."),
        ],
    )
    async def test_ends_what_reads_it(self, yard: Yard, values: dict[str, Any], reason: str, *, of_model: bool) -> None:
        grant = await yard.grant()
        job_id = await staged(yard, grant, await made_of(yard, yard.dataset_version_id) if of_model else None)
        await yard.cycle()
        assert await told(yard, job_id) == []
        await say(yard, yard.dataset_id, **values)
        await yard.cycle()
        (event,) = await told(yard, job_id)
        assert event.state == "STOPPING"
        assert reason in event.message


class TestMany:
    async def test_are_all_asked_about_in_one_cycle_a_few_at_a_time(
        self, yard: Yard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those that may read on are not in the way of the others."""
        monkeypatch.setattr(access_ending, "INPUTS_MAX", 1)
        first = await yard.grant()
        other_version, other = await source(yard, "gauge-dials")
        stays = await staged(yard, first)
        ends = await staged(yard, other, yard.digits(source_id=other_version))
        await withdraw(yard, other)
        await yard.cycle()
        assert [len(await told(yard, each)) for each in (stays, ends)] == [0, 1]
        await withdraw(yard, first)
        await yard.cycle()
        assert [len(await told(yard, each)) for each in (stays, ends)] == [1, 1]


class TestQueued:
    async def test_of_a_deactivated_person_waits_even_without_inputs(self, yard: Yard) -> None:
        job_id = await yard.submit(yard.spec())
        await deactivate(yard, job_id)
        await yard.cycle(times=2)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("QUEUED", "ACCESS_ENDED")
        assert "who submitted this job, was deactivated. Cancel it" in job.state_message

    async def test_of_a_deactivated_program_waits_too(self, yard: Yard) -> None:
        job_id = await yard.submit(yard.spec())
        async with yard.database.transaction() as session:
            program = ServiceAccount(
                id=new_id(), name="nightly", team_id=(await yard.job(job_id)).team_id, created_at=yard.clock.now(),
                deactivated_at=yard.clock.now(),
            )  # fmt: skip
            session.add(program)
            await session.flush()
            mine = update(Job).where(Job.id == job_id)
            await session.execute(mine.values(created_by=program.id, created_by_kind="SERVICE_ACCOUNT"))
        await yard.cycle(times=2)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("QUEUED", "ACCESS_ENDED")
        assert job.state_message.startswith("nightly, who submitted this job")

    async def test_waits_and_says_why(self, yard: Yard) -> None:
        await yard.grant()
        job_id = await yard.submit(yard.spec(inputs=(yard.digits(),)))
        await withdraw(yard)
        await yard.cycle(times=2)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("QUEUED", "ACCESS_ENDED")
        assert "was withdrawn" in job.state_message
