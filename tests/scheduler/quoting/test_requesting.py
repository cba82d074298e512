"""Quotes: what binds, what is left out and why, and every mistake that a caller can make."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest
from sqlalchemy import select, update

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import InvalidInput, NotFound
from marketplace.ledger_refusals import InsufficientCredits
from marketplace.tables import Hold, Quote, Tier
from registry.access.reading import AccessRefused
from registry.artifacts.tables import Package
from registry.datasets.tables import Dataset
from registry.models.tables import Model
from scheduler.clusters.fake import FakeRun
from scheduler.clusters.tables import Cluster, Pool
from scheduler.configuration import apply_pools
from scheduler.jobs.spec import InputKind, InputSpec, JobSpec, OutputSpec
from scheduler.jobs.tables import Job
from scheduler.machines import derive_pools
from tests.scheduler.furnishing import CREDIT
from tests.scheduler.yard import POOLS, Yard


async def change(yard: Yard, table: type[Any], **values: Any) -> None:
    async with yard.database.transaction() as session:
        await session.execute(update(table).values(**values))


async def change_pool(yard: Yard, name: str, **values: Any) -> None:
    """As a configuration does, so that its machines follow."""
    async with yard.database.transaction() as session:
        await session.execute(update(Pool).where(Pool.name == name).values(**values))
        for cluster_id in (await session.scalars(select(Cluster.id))).all():
            await derive_pools(session, cluster_id)


class TestWhatBinds:
    async def test_a_small_job(self, yard: Yard) -> None:
        quote = await yard.quote()
        now = yard.clock.now()
        assert quote.predicted_start == now
        assert quote.estimated_price == quote.hold == 333_333
        assert quote.expires_at == now + timedelta(seconds=900)
        assert quote.predicted_energy_watt_hours == 72 * 600 // 3600
        assert quote.predicted_carbon_grams is None  # nobody said what its power comes from
        assert quote.eligible_pool_ids == [await yard.pool_id("small")]
        assert [(each["code"], each["message"]) for each in quote.excluded] == [
            ("ACCELERATOR_MISMATCH", "Pool big has h100, not l4.")
        ]
        assert JobSpec.from_json({k: v for k, v in quote.job.items() if k != "sensitive"}) == yard.spec()
        assert await yard.count(Hold) == 0

    async def test_segments_are_split_where_the_rate_changes_and_the_hold_is_the_dearest_start(
        self, yard: Yard
    ) -> None:
        yard.clock.advance(timedelta(hours=13, minutes=50))
        quote = await yard.quote(yard.spec(accelerator="h100", accelerator_count=2, walltime_seconds=1200))
        rates = [(each["creditsPerHour"] // CREDIT, each["credits"]) for each in quote.segments]
        assert rates == [(10, 2 * 10 * CREDIT // 6), (4, 2 * 4 * CREDIT // 6 + 1)]
        assert quote.estimated_price == sum(credits for _, credits in rates)
        assert quote.hold == round(2 * 10 * CREDIT * 1200 / 3600)  # tomorrow by day it is dearest
        (cheaper,) = quote.suggestions
        assert cheaper["kind"] == "CHEAPER_START"
        assert cheaper["message"].startswith("A start at 2026-03-02 22:00 UTC would cost 2.666667 credits instead of")

    async def test_carbon_follows_the_energy_and_the_clusters_grid(self, yard: Yard) -> None:
        pools = [replace(pool, carbon_grams_per_kwh=250) for pool in POOLS]
        async with yard.database.transaction() as session:
            await apply_pools(session, yard.actor("root"), pools, at=yard.clock.now(), new_id=new_id)
        quote = await yard.quote(yard.spec(accelerator="h100", accelerator_count=2, walltime_seconds=3600))
        assert quote.predicted_energy_watt_hours == 2 * 700
        assert quote.predicted_carbon_grams == 350

    async def test_any_kind_of_accelerator_prefers_the_cheapest_and_holds_for_the_dearest(self, yard: Yard) -> None:
        quote = await yard.quote(yard.spec(accelerator=None))
        assert quote.eligible_pool_ids == [await yard.pool_id("small"), await yard.pool_id("big")]
        assert quote.estimated_price == 333_333
        assert quote.hold == round(10 * CREDIT / 6)

    async def test_the_predicted_start_is_the_plans(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=3000)
        await yard.submit(yard.spec("first", accelerator_count=2, walltime_seconds=3600), programme="zero")
        await yard.cycle()
        await yard.submit(yard.spec("second", accelerator_count=2, walltime_seconds=3600), programme="later")
        now = yard.clock.now()
        behind = await yard.quote(yard.spec("third"), programme="later")
        assert behind.predicted_start == now + timedelta(seconds=2 * 3610)
        before = await yard.quote(yard.spec("fourth"), programme="zero")
        assert before.predicted_start == now + timedelta(seconds=3610)

    async def test_a_job_keeps_its_rates_when_prices_change(self, yard: Yard) -> None:
        quote = await yard.quote()
        async with yard.database.transaction() as session:
            await yard.reprice(session, factor=10)
        yard.cluster.script = lambda _: FakeRun(run_seconds=36)
        job_id = await yard.accept(quote.id)
        await yard.cycle()
        await yard.cycle(60)
        assert (await yard.job(job_id)).captured == 2 * CREDIT // 100
        assert (await yard.quote()).hold == 3_333_333

    async def test_a_lesson_and_a_published_model_are_suggested(self, yard: Yard) -> None:
        await yard.publish_rival_model()
        await yard.grant()
        quote = await yard.quote(yard.spec(output=yard.output()))
        assert [(each["kind"], each["message"]) for each in quote.suggestions] == [
            ("EXISTING_MODEL", "The model dial-reader is published for image-classification: it may do already."),
            ("LESSON", "fails on glare"),
        ]


class TestPools:
    async def exclusions(self, yard: Yard, spec: JobSpec, **given: Any) -> dict[str, str]:
        quote = await yard.quote(spec, **given)
        names = {pool.id: pool.name for pool in await yard.rows(Pool)}
        return {names[UUID(each["poolId"])]: each["code"] for each in quote.excluded}

    async def test_too_few(self, yard: Yard) -> None:
        spec = yard.spec(accelerator=None, accelerator_count=3)
        assert await self.exclusions(yard, spec) == {"small": "TOO_FEW"}

    async def test_a_selector_that_matches_nothing(self, yard: Yard) -> None:
        await change_pool(yard, "small", node_selector={"kind": "l40s", "zone": "a"})
        with pytest.raises(InvalidInput) as caught:
            await yard.quote()
        assert [(problem.code, problem.message) for problem in caught.value.problems] == [
            (
                "NO_MACHINES",
                (
                    "No pool can run this job. small: has no nodes: none of cluster here with kind=l40s, zone=a offers "
                    "nvidia.com/gpu and has only taints that the pool tolerates."
                ),
            )
        ]
        assert await yard.count(Quote) == 0

    async def test_a_cluster_whose_nodes_are_unread(self, yard: Yard) -> None:
        await change(yard, Cluster, machines_at=None)
        await change_pool(yard, "small", node_selector={"kind": "l40s"})
        assert await self.exclusions(yard, yard.spec(accelerator=None)) == {"small": "NO_MACHINES"}

    async def test_a_pool_without_an_image(self, yard: Yard) -> None:
        await change_pool(yard, "small", image=None)
        assert await self.exclusions(yard, yard.spec(accelerator=None)) == {"small": "IMAGE_MISSING"}
        spec = yard.spec(accelerator=None, package_id=None, image="registry.example.org/train:1")
        assert await self.exclusions(yard, spec) == {}

    async def test_walltime(self, yard: Yard) -> None:
        await change(yard, Pool, walltime_seconds_max=100)
        await self._only_big(yard, walltime_seconds_max=10_000)
        assert await self.exclusions(yard, yard.spec(accelerator=None)) == {"small": "WALLTIME_TOO_LONG"}

    async def test_cores_and_memory(self, yard: Yard) -> None:
        await change(yard, Pool, cpu_per_node=4, memory_bytes_per_node=2**30)
        await self._only_big(yard, cpu_per_node=64)
        assert await self.exclusions(yard, yard.spec(accelerator=None, cpu=8)) == {"small": "TOO_LITTLE_CPU"}
        await self._only_big(yard, memory_bytes_per_node=2**40)
        spec = yard.spec(accelerator=None, memory_bytes=2**31)
        assert await self.exclusions(yard, spec) == {"small": "TOO_LITTLE_MEMORY"}

    async def test_named_pools_only(self, yard: Yard) -> None:
        spec = yard.spec(accelerator=None)
        assert await self.exclusions(yard, spec, pools=["big"]) == {"small": "NOT_CHOSEN"}

    async def test_region_of_the_data(self, yard: Yard) -> None:
        await yard.grant()
        await change(yard, Dataset, regions=["us"])
        with pytest.raises(InvalidInput) as caught:
            await yard.quote(yard.spec(inputs=(yard.digits(),)))
        (problem,) = caught.value.problems
        assert problem.code == "REGION"
        assert "is in eu, the inputs may only be in us" in problem.message

    async def test_restricted_data_never_on_this_machine(self, yard: Yard) -> None:
        await yard.grant()
        await change(yard, Dataset, classification="RESTRICTED")
        assert (await yard.quote(yard.spec(inputs=(yard.digits(),)))).job["sensitive"] is True
        await change(yard, Cluster, kind="LOCAL")
        with pytest.raises(InvalidInput) as caught:
            await yard.quote(yard.spec(inputs=(yard.digits(),)))
        assert caught.value.problems[0].code == "RESTRICTED_NOT_LOCAL"

    async def test_images_need_a_cluster(self, yard: Yard) -> None:
        await change(yard, Cluster, kind="LOCAL")
        with pytest.raises(InvalidInput) as caught:
            await yard.quote(yard.spec(package_id=None, image="train:1"))
        assert (caught.value.problems[0].code, caught.value.problems[0].field) == (
            "IMAGE_NOT_LOCAL",
            "job.source.image",
        )

    @staticmethod
    async def _only_big(yard: Yard, **values: Any) -> None:
        async with yard.database.transaction() as session:
            await session.execute(update(Pool).where(Pool.name == "big").values(**values))


MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no command": ({"command": ()}, "INVALID_INPUT", "job.command"),
    "an empty command": ({"command": ("",)}, "INVALID_INPUT", "job.command"),
    "a null in the command": ({"command": ("a", "b\0")}, "INVALID_INPUT", "job.command[1]"),
    "no name": ({"name": " "}, "INVALID_INPUT", "job.name"),
    "no node": ({"nodes": 0}, "INVALID_INPUT", "job.nodes"),
    "too many nodes": ({"nodes": 5, "accelerator": "h100"}, "TOO_FEW_NODES", "job.nodes"),
    "nodes that do not fit on machines": (
        {"nodes": 2, "accelerator": "h100", "accelerator_count": 3}, "TOO_FEW_NODES", "job.nodes",
    ),
    "no accelerator": ({"accelerator_count": 0}, "INVALID_INPUT", "job.perNode.acceleratorCount"),
    "more accelerators than any pool has": ({"accelerator_count": 9}, "TOO_FEW", "job.perNode.acceleratorCount"),
    "an unknown accelerator": ({"accelerator": "tpu"}, "UNKNOWN_ACCELERATOR", "job.perNode.accelerator"),
    "no cores": ({"cpu": 0}, "INVALID_INPUT", "job.perNode.cpu"),
    "negative memory": ({"memory_bytes": -1}, "INVALID_INPUT", "job.perNode.memoryBytes"),
    "no walltime": ({"walltime_seconds": 0}, "WALLTIME_OUT_OF_RANGE", "job.walltimeSeconds"),
    "too long a walltime": ({"walltime_seconds": 9 * 3600}, "WALLTIME_TOO_LONG", "job.walltimeSeconds"),
    "a tier without rates": ({"tier": Tier.PREEMPTIBLE}, "NO_RATE", "job.tier"),
    "a variable of ours": ({"environment": (("GUILDHALL_TOKEN", "x"),)}, "INVALID_INPUT", "job.environment[0].name"),
    "a variable of ours in small letters": (
        {"environment": (("guildhall_x", "x"),)}, "INVALID_INPUT", "job.environment[0].name",
    ),
    "a variable with a wrong name": (
        {"environment": (("A", "1"), ("1A", "x"))}, "INVALID_INPUT", "job.environment[1].name",
    ),
    "a variable twice": ({"environment": (("A", "1"), ("A", "2"))}, "INVALID_INPUT", "job.environment[1].name"),
    "a null in a value": ({"environment": (("A", "\0"),)}, "INVALID_INPUT", "job.environment[0].value"),
    "an image with a space": ({"package_id": None, "image": "a b"}, "INVALID_IMAGE", "job.source.image"),
}  # fmt: skip


class TestMistakes:
    @pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
    async def test_of_the_job(self, yard: Yard, mistake: tuple[dict[str, Any], str, str]) -> None:
        given, code, field = mistake
        with pytest.raises(InvalidInput) as caught:
            await yard.quote(yard.spec(**given))
        assert [(problem.code, problem.field) for problem in caught.value.problems] == [(code, field)]
        assert await yard.count(Quote) == 0

    async def test_several_are_told_at_once(self, yard: Yard) -> None:
        with pytest.raises(InvalidInput) as caught:
            await yard.quote(yard.spec(command=(), walltime_seconds=0, nodes=0))
        fields = {problem.field for problem in caught.value.problems}
        assert fields == {"job.command", "job.walltimeSeconds", "job.nodes"}

    async def test_a_latest_start_in_the_past_or_too_far(self, yard: Yard) -> None:
        for start_by, code in (
            (yard.clock.now(), "START_BY_PAST"),
            (yard.clock.now() + timedelta(days=31), "START_BY_TOO_FAR"),
        ):
            with pytest.raises(InvalidInput) as caught:
                await yard.quote(yard.spec(start_by=start_by))
            assert [(each.code, each.field) for each in caught.value.problems] == [(code, "job.startBy")]

    @pytest.mark.parametrize("path", ["", "/", "../up", "a/../../b", ".guildhall/x", "a\nb"])
    async def test_a_path_that_cannot_be(self, yard: Yard, path: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            await yard.quote(yard.spec(output=OutputSpec(model_id=yard.model_id, path=path)))
        assert [problem.field for problem in caught.value.problems] == ["job.output.path"]

    async def test_two_things_in_one_place(self, yard: Yard) -> None:
        spec = yard.spec(inputs=(yard.digits(), yard.digits(mount_path="/data/more")))
        with pytest.raises(InvalidInput) as caught:
            await yard.quote(replace(spec, output=OutputSpec(model_id=yard.model_id, path="./data")))
        assert [each.field for each in caught.value.problems] == ["job.inputs[1].mountPath", "job.output.path"]

    async def test_what_is_not_there(self, yard: Yard) -> None:
        nobody = uuid5(yard.model_id, "nobody")
        spec = yard.spec(
            package_id=nobody,
            inputs=(
                yard.digits(source_id=nobody),
                InputSpec(kind=InputKind.MODEL_VERSION, source_id=nobody, mount_path="base", purpose="quality"),
            ),
            output=OutputSpec(model_id=nobody, path="model"),
        )
        with pytest.raises(InvalidInput) as caught:
            await yard.quote(spec)
        assert {(each.code, each.field) for each in caught.value.problems} == {
            ("NOT_FOUND", "job.source.packageId"),
            ("NOT_FOUND", "job.inputs[0].source.datasetVersionId"),
            ("NOT_FOUND", "job.inputs[1].source.modelVersionId"),
            ("NOT_FOUND", "job.output.modelId"),
        }

    async def test_a_package_that_is_not_uploaded(self, yard: Yard) -> None:
        await change(yard, Package, state="DRAFT", ready_at=None)
        with pytest.raises(InvalidInput) as caught:
            await yard.quote()
        assert caught.value.problems[0].code == "PACKAGE_NOT_READY"

    async def test_the_model_of_another_team(self, yard: Yard) -> None:
        await change(yard, Model, team_id=yard.teams["quality"])
        with pytest.raises(InvalidInput) as caught:
            await yard.quote(yard.spec(output=yard.output()))
        assert caught.value.problems[0].code == "MODEL_OF_ANOTHER_TEAM"

    async def test_unknown_names(self, yard: Yard) -> None:
        with pytest.raises(InvalidInput) as caught:
            await yard.quote(pools=["small", "huge"])
        assert [(each.code, each.field) for each in caught.value.problems] == [("UNKNOWN_POOL", "job.pools[1]")]
        with pytest.raises(NotFound) as unknown:
            await yard.quote(programme="none")
        assert unknown.value.field == "programme"
        with pytest.raises(NotFound) as missing:
            await yard.quote(team="none")
        assert missing.value.field == "team"


class TestRights:
    async def test_only_who_may_ask_for_the_team(self, yard: Yard) -> None:
        for name in ("vera", "quinn"):
            with pytest.raises(PermissionRefused):
                await yard.quote(by=name)
        assert await yard.count(Quote) == 0

    async def test_missing_access_is_refused_with_the_way_to_ask(self, yard: Yard) -> None:
        with pytest.raises(AccessRefused) as caught:
            await yard.quote(yard.spec(inputs=(yard.digits(),)))
        refusal = caught.value
        assert refusal.details == {"reason": "ACCESS_GRANT_REQUIRED"}
        assert "requestAccess" in refusal.message
        assert refusal.permission.name == "registry:dataset:read"
        assert {each.id for each in refusal.resources} == {yard.dataset_id, yard.dataset_version_id}
        assert await yard.count(Quote) == 0

    async def test_access_for_another_purpose_is_none(self, yard: Yard) -> None:
        await yard.grant()
        with pytest.raises(AccessRefused) as caught:
            await yard.quote(yard.spec(inputs=(yard.digits(purpose="marketing"),)))
        assert caught.value.details == {"reason": "PURPOSE_NOT_PERMITTED"}

    async def test_a_wallet_that_cannot_pay_is_told_what_is_missing(self, yard: Yard) -> None:
        async with yard.database.transaction() as session:
            await yard.drain(session, "maintenance", "zero", leave=CREDIT)
        with pytest.raises(InsufficientCredits) as caught:
            await yard.quote(yard.spec(walltime_seconds=3600))
        assert (caught.value.missing, caught.value.details["missing"]) == (CREDIT, "1")
        assert await yard.count(Quote) == 0


class TestAcceptance:
    async def test_a_quote_has_its_minutes(self, yard: Yard) -> None:
        quote = await yard.quote()
        yard.clock.advance(seconds=900)
        with pytest.raises(Exception, match="This quote was valid until 2026-03-02 08:15:00 UTC"):
            await yard.accept(quote.id)
        assert (await yard.count(Job), await yard.count(Hold)) == (0, 0)

    async def test_only_who_may_submit(self, yard: Yard) -> None:
        quote = await yard.quote()
        with pytest.raises(PermissionRefused):
            await yard.accept(quote.id, by="vera")
        with pytest.raises(NotFound):
            await yard.accept(quote.id, by="quinn")
        assert (await yard.count(Job), await yard.count(Hold)) == (0, 0)

    async def test_again_it_is_the_same_job(self, yard: Yard) -> None:
        quote = await yard.quote()
        assert await yard.accept(quote.id) == await yard.accept(quote.id)
        assert (await yard.count(Job), await yard.count(Hold)) == (1, 1)

    async def test_a_wallet_that_was_emptied_meanwhile_refuses(self, yard: Yard) -> None:
        quote = await yard.quote()
        async with yard.database.transaction() as session:
            await yard.drain(session, "maintenance", "zero", leave=0)
        with pytest.raises(InsufficientCredits):
            await yard.accept(quote.id)
        assert (await yard.count(Job), await yard.count(Hold)) == (0, 0)
        (kept,) = await yard.rows(Quote)
        assert kept.accepted_at is None
