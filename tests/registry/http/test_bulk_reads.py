"""Reading much stands out: a data scientist downloads the whole customer database, and everybody who should knows."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select, update

from guildhall.auth.actor import Actor
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.subjects import ActorKind
from guildhall.clock import new_id
from registry.access.jobs import JobInput
from registry.access.withdrawal import withdraw_access
from registry.artifacts.tables import Artifact, OwnerKind
from registry.datasets.tables import Dataset, DatasetVersion
from registry.http import sending
from registry.http.readers import AT_ONCE_MAX
from registry.lineage.restrictions import recompute_effective
from registry.volume.counting import DAY_SECONDS, Budget
from registry.volume.policy import set_read_budget
from registry.volume.tables import AccessAlert, BudgetAction, BudgetScope, ReadCounter
from tests.people import make_service_account
from tests.registry.house import trained_on
from tests.registry.http.conftest import Site
from tests.registry.http.reading import address, get, grant_to_quality, reads, stored
from tests.waiting import so_many_wait, until_so_many_wait

TABLE = b"id,name\n" + b"".join(b"%d,customer\n" % number for number in range(100))


async def customers(site: Site, rows: int | None = 100, **budget: Any) -> tuple[UUID, str]:
    """The data set and the address of its one file, which Quality may read."""
    dataset_id, version_id = await stored(site, TABLE)
    await grant_to_quality(site, dataset_id)
    artifact = await site.estate.artifact(version_id, "a.bin")
    async with site.estate.database.transaction() as session:
        (await session.get_one(Artifact, artifact.id)).rows = rows
    if budget:
        await limit(site, dataset_id, **budget)
    return dataset_id, await address(site, version_id)


async def limit(site: Site, dataset_id: UUID, **given: Any) -> None:
    values: dict[str, Any] = {
        "scope": BudgetScope.PERSON,
        "window_seconds": DAY_SECONDS,
        "rows_max": None,
        "bytes_max": None,
        "habit_factor": None,
        "action": BudgetAction.BLOCK,
        **given,
    }
    async with site.estate.database.transaction() as session:
        mia, at = site.estate.actor("mia"), site.estate.clock.now()
        await set_read_budget(session, mia, dataset_id=dataset_id, budget=Budget(**values), at=at, new_id=new_id)


async def counted(site: Site) -> list[tuple[str, int, int]]:
    await reads(site)
    return sorted((row.scope, row.rows, row.bytes) for row in await site.estate.rows(ReadCounter))


class TestTheStory:
    async def test_the_whole_customer_database_is_not_downloaded_unseen(self, site: Site) -> None:
        """Paul of Quality may read customers, a few at a time. He asks for all of them."""
        dataset_id, url = await customers(site, rows_max=50)
        few = await get(site, url, by="paul", Range="bytes=0-99")
        assert few.status_code == 206
        whole = await get(site, url, by="paul")
        assert whole.status_code == 403
        unusual = (
            "With this read, Paul would have read 109 rows (the policy lets 50 pass) of gauge-digits within 24 hours."
        )
        assert whole.json()["error"] == {
            "code": "READ_BUDGET_CROSSED",
            "message": f"{unusual} The stewards were told; ask them to raise the budget, or read less.",
            "reason": "BLOCK",
            "hint": "`guildhall dataset show` names its stewards.",
        }
        (alert,) = await site.estate.rows(AccessAlert)
        assert (alert.dataset_id, alert.user_id, alert.team_id, alert.action, alert.rows, alert.message) == (
            dataset_id,
            site.estate.house.people["paul"],
            site.estate.house.teams["quality"],
            "BLOCK",
            109,
            unusual,
        )
        *_, refused = await reads(site)
        assert (refused.outcome, refused.reason_code, refused.purpose, refused.actor_id) == (
            "REFUSED",
            "READ_BUDGET_CROSSED",
            "quality",
            site.estate.house.people["paul"],
        )
        assert await counted(site) == [("PERSON", 9, 100)]

    async def test_others_have_budgets_of_their_own(self, site: Site) -> None:
        _, url = await customers(site, rows_max=100)
        assert [(await get(site, url, by=name)).status_code for name in ("paul", "paul", "quinn", "carl")] == [
            200,
            403,
            200,
            200,
        ]

    @pytest.mark.parametrize(("scope", "want"), [("TEAM", [200, 403, 200]), ("DATASET", [200, 403, 403])])
    async def test_a_team_or_everybody_together(self, site: Site, scope: str, want: list[int]) -> None:
        _, url = await customers(site, rows_max=150, scope=BudgetScope(scope))
        assert [(await get(site, url, by=name)).status_code for name in ("paul", "quinn", "carl")] == want


class TestDefault:
    async def test_closed_data_is_counted_and_warned_about_without_any_policy(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, url = await customers(site, rows=60_000)
        answers = [(await get(site, url, by="paul")).status_code for _ in range(2)]
        assert answers == [200, 200]
        (alert,) = await site.estate.rows(AccessAlert)
        assert (alert.action, alert.rows, alert.delayed_until) == ("WARN", 120_000, None)
        await get(site, url, by="paul")
        (grown,) = await site.estate.rows(AccessAlert)
        assert (grown.id, grown.rows, grown.raised_at) == (alert.id, 180_000, alert.raised_at)

    async def test_rows_that_nobody_counted_are_as_many_as_the_bytes_could_be(self, site: Site) -> None:
        _, url = await customers(site, rows=None)
        await get(site, url, by="paul")
        assert await counted(site) == [("PERSON", -(-len(TABLE) // 100), len(TABLE))]

    async def test_or_a_share_of_the_version_s(self, site: Site) -> None:
        dataset_id, url = await customers(site, rows=None)
        async with site.estate.database.transaction() as session:
            await session.execute(update(DatasetVersion).filter_by(dataset_id=dataset_id).values(rows=80))
        await get(site, url, by="paul")
        assert await counted(site) == [("PERSON", 80, len(TABLE))]


class TestModels:
    async def test_of_restricted_data_count_in_bytes_and_of_other_data_not(self, site: Site) -> None:
        estate = site.estate
        dataset_id, version_id = await stored(site)
        await limit(site, dataset_id, bytes_max=5)
        async with estate.database.transaction() as session:
            estate.house.session = session
            made_id = await estate.house.version(
                await estate.house.model(), ready=False, sources=[trained_on(version_id)]
            )
        await estate.send(made_id, "model.bin", b"abc")
        assert (await estate.complete(made_id, kind=OwnerKind.MODEL_VERSION)).missing == ()
        url = await address(site, made_id, "model.bin")
        assert (await get(site, url)).status_code == 200
        assert await counted(site) == []
        async with estate.database.transaction() as session:
            await session.execute(update(Dataset).filter_by(id=dataset_id).values(classification="RESTRICTED"))
            await recompute_effective(session, dataset_ids=[dataset_id])
        assert (await get(site, url)).status_code == 200
        assert await counted(site) == [("PERSON", 0, 3)]
        refused = await get(site, url)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "READ_BUDGET_CROSSED")
        (alert,) = await site.estate.rows(AccessAlert)
        assert "6 bytes (the policy lets 5 pass) of gauge-digits and models that were made from it" in alert.message
        assert await counted(site) == [("PERSON", 0, 3)]


class TestPrograms:
    async def program(self, site: Site, name: str, team: str = "quality") -> Actor:
        """A service account that reads for the team."""
        team_id = site.estate.house.teams[team]
        async with site.estate.database.transaction() as session:
            key = await make_service_account(session, name, team_id, roles=["contributor"])
            policy = PolicySnapshot(await load_rules(session))
        actor = Actor(kind=ActorKind.SERVICE_ACCOUNT, id=key, name=name, policy=policy, team_id=team_id)
        site.jobs[name] = actor
        return actor

    async def test_many_of_a_team_read_one_budget(self, site: Site) -> None:
        """And people one of their own: nobody reads more by making programs."""
        _, url = await customers(site, rows_max=150)
        for name in ("one", "two"):
            await self.program(site, name)
        assert [(await get(site, url, by=name)).status_code for name in ("one", "two", "paul")] == [200, 403, 200]
        (alert,) = await site.estate.rows(AccessAlert)
        assert (alert.user_id, alert.subject_id) == (None, site.estate.house.teams["quality"])
        assert alert.message.startswith("With this read, two with the other programs of its team would have read 200")

    async def test_nor_by_the_jobs_of_them(self, site: Site) -> None:
        dataset_id, url = await customers(site, rows_max=150)
        artifact = await site.estate.rows(Artifact)
        owner = next(row.owner_id for row in artifact if url.endswith(str(row.id)))
        await self.program(site, "one")
        job = replace(site.estate.house.job("quality", "paul"), on_behalf_of=(await self.program(site, "two")).id)
        site.jobs["run"] = job
        site.inputs[job.id, owner] = JobInput(purpose="quality")
        assert [(await get(site, url, by=name)).status_code for name in ("one", "run")] == [200, 403]
        (alert,) = await site.estate.rows(AccessAlert)
        assert (alert.dataset_id, alert.user_id) == (dataset_id, None)


class TestHabit:
    async def test_ten_times_the_usual_is_unusual(self, site: Site) -> None:
        dataset_id, url = await customers(site, rows=3_000, habit_factor=10, action=BudgetAction.BLOCK)
        for day in range(1, 6):
            await remember(site, dataset_id, day=day, rows=2_000, size_bytes=10**9)
        assert [(await get(site, url, by="paul")).status_code for _ in range(7)] == [200] * 6 + [403]
        (alert,) = await site.estate.rows(AccessAlert)
        assert alert.rows == 21_000 + 1_333  # a third of today has gone, so two thirds of yesterday still count
        assert "usual are 2,000" in alert.message

    async def test_four_days_are_no_habit(self, site: Site) -> None:
        dataset_id, url = await customers(site, rows=50_000, habit_factor=2)
        for day in range(2, 6):
            await remember(site, dataset_id, day=day, rows=10, size_bytes=10)
        assert (await get(site, url, by="paul")).status_code == 200

    async def test_ten_times_next_to_nothing_is_not(self, site: Site) -> None:
        dataset_id, url = await customers(site, rows=1_900, habit_factor=2)
        for day in range(2, 7):
            await remember(site, dataset_id, day=day, rows=1, size_bytes=10)
        assert (await get(site, url, by="paul")).status_code == 200


async def remember(site: Site, dataset_id: UUID, *, day: int, rows: int, size_bytes: int) -> None:
    today = site.estate.clock.now().replace(hour=0)
    async with site.estate.database.transaction() as session:
        session.add(
            ReadCounter(
                dataset_id=dataset_id,
                scope="PERSON",
                subject_id=site.estate.house.people["paul"],
                window_seconds=DAY_SECONDS,
                window_start=today - timedelta(days=day),
                rows=rows,
                bytes=size_bytes,
            )
        )


class TestDelay:
    async def test_once_for_a_while_and_then_it_goes_on(self, site: Site) -> None:
        _, url = await customers(site, rows_max=50, action=BudgetAction.DELAY, delay_seconds=600)
        first = await get(site, url, by="paul")
        assert (first.status_code, first.headers["retry-after"], first.json()["error"]["code"]) == (
            429,
            "600",
            "READ_DELAYED",
        )
        site.estate.clock.advance(seconds=599)
        second = await get(site, url, by="paul")
        assert (second.status_code, second.headers["retry-after"]) == (429, "1")
        site.estate.clock.advance(seconds=1)
        assert (await get(site, url, by="paul")).content == TABLE
        (alert,) = await site.estate.rows(AccessAlert)
        assert (alert.delayed_until - alert.raised_at).total_seconds() == 600
        assert [event.outcome for event in await reads(site)] == ["REFUSED", "REFUSED", "STARTED", "COMPLETED"]


class TestRaces:
    async def test_parallel_downloads_cannot_slip_past_together(self, site: Site) -> None:
        _, url = await customers(site, rows_max=300)
        answers = await asyncio.gather(*(get(site, url, by="paul") for _ in range(12)))
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [403] * 9
        assert await counted(site) == [("PERSON", 300, 3 * len(TABLE))]
        assert len(await site.estate.rows(AccessAlert)) == 1

    async def test_many_reads_of_one_person_are_in_nobody_s_way(self, site: Site) -> None:
        """They wait for each other at the row that counts them, which a rival keeps: no more than a few of them."""
        _, url = await customers(site, rows_max=10_000)
        assert (await get(site, url, by="paul")).status_code == 200
        paul = site.estate.house.people["paul"]
        database = site.estate.database
        async with database.transaction() as rival:
            await rival.execute(select(ReadCounter).where(ReadCounter.subject_id == paul).with_for_update())
            many = [asyncio.ensure_future(get(site, url, by="paul")) for _ in range(3 * AT_ONCE_MAX)]
            await until_so_many_wait(database, AT_ONCE_MAX)
            assert (await get(site, url, by="quinn")).status_code == 200
            assert await so_many_wait(database) <= AT_ONCE_MAX
        assert {answer.status_code for answer in await asyncio.gather(*many)} == {200}
        assert [rows for _, rows, _ in await counted(site)] == [100, 100 * (1 + len(many))]

    async def test_what_did_not_leave_is_given_back(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        _, url = await customers(site, rows_max=100)
        original = site.estate.store.read

        def broken(key: str, *, start: int, end: int) -> Any:
            async def chunks() -> Any:
                async for chunk in original(key, start=start, end=end):
                    yield chunk[: len(TABLE) // 2]
                    raise ConnectionError

            return chunks()

        monkeypatch.setattr(site.estate.store, "read", broken)
        with pytest.raises(httpx.HTTPError):
            await get(site, url, by="paul")
        assert await counted(site) == [("PERSON", 50, len(TABLE) // 2)]


class TestWithdrawalWhileBytesLeave:
    @pytest.mark.parametrize("end", ["withdrawn", "over"])
    async def test_the_download_is_cut_and_recorded(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, end: str
    ) -> None:
        dataset_id, version_id = await stored(site, TABLE)
        grant_id = await grant_to_quality(site, dataset_id)
        monkeypatch.setattr(sending, "LOOKS_EVERY_SECONDS", 0.01)
        original, waiting = site.estate.store.read, asyncio.Event()

        def slow(key: str, *, start: int, end: int) -> Any:
            async def chunks() -> Any:
                async for chunk in original(key, start=start, end=end):
                    yield chunk[:100]
                    await waiting.wait()
                    yield chunk[100:]

            return chunks()

        monkeypatch.setattr(site.estate.store, "read", slow)
        url = await address(site, version_id)
        async with site.client("paul") as client, client.stream("GET", url) as answer:
            received = answer.aiter_bytes()
            assert await anext(received) == TABLE[:100]
            if end == "over":
                site.estate.clock.advance(seconds=2 * DAY_SECONDS)
            else:
                async with site.estate.database.transaction() as session:
                    mia, at = site.estate.actor("mia"), site.estate.clock.now()
                    await withdraw_access(
                        session, mia, access_grant_id=grant_id, reason="A leak.", at=at, new_id=new_id
                    )
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(received)
        waiting.set()
        _, outcome = await reads(site)
        assert (outcome.outcome, outcome.bytes, outcome.reason_code) == ("ABORTED", 100, "ACCESS_ENDED")
        assert (await get(site, url, by="paul")).status_code == 403
