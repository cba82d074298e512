"""Every document of the contract, as written, against a server that holds the story."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from guildhall.db.transaction import Database
from guildhall.graphql.ids import split_id
from tests.documents.story import read_bytes, tell
from tests.documents.world import World, contract, running_world


@pytest.fixture(scope="module")
async def world(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_world(database, tmp_path_factory.mktemp("data")) as running:
        await tell(running)
        yield running


class TestReading:
    async def test_viewer(self, world: World) -> None:
        data = await world.ask("mira", "Viewer")
        assert data["viewer"]["actor"]["email"] == "mira@example.org"
        assert data["viewer"]["memberships"] == [{"team": {"name": "maintenance"}, "roles": ["maintainer"]}]

    async def test_models(self, world: World) -> None:
        data = await world.ask("quentin", "Models", first=5, filter={"team": {"eq": "maintenance"}})
        (model,) = data["models"]["nodes"]
        assert model["name"] == "gauge-reader"
        assert [version["number"] for version in model["versions"]["nodes"]] == [2, 1]
        assert model["versions"]["nodes"][1]["metrics"] == [{"name": "accuracy", "value": 0.75}]
        assert data["models"]["pageInfo"]["hasNextPage"] is False
        after = await world.ask("quentin", "Models", first=5, after=data["models"]["pageInfo"]["endCursor"],
                                filter={"team": {"eq": "maintenance"}})  # fmt: skip
        assert after["models"]["nodes"] == []

    async def test_search_models(self, world: World) -> None:
        data = await world.ask("quentin", "SearchModels", text="digit", first=5)
        assert data["searchModels"]["count"] == {"value": 1, "exact": True}
        (edge,) = data["searchModels"]["edges"]
        assert edge["node"]["adoptions"] == {"totalCount": 1}
        assert edge["node"]["viewerCan"] is True
        assert edge["score"] > 0
        assert edge["highlights"] != []

    async def test_model_page(self, world: World) -> None:
        model = (await world.ask("quentin", "ModelPage", team="maintenance", name="gauge-reader"))["model"]
        assert model["aliases"] == [{"name": "champion", "version": {"number": 1}, "protected": False}]
        assert model["dataNeeds"]["rowsMin"] == "2"
        assert model["adoptions"]["nodes"][0]["team"] == {"name": "quality"}
        versions = {version["number"]: version for version in model["versions"]["nodes"]}
        assert versions.keys() == {1, 2}
        trained = versions[1]
        assert [artifact["path"] for artifact in trained["artifacts"]["nodes"]] == ["model.json"]
        assert trained["card"]["missing"] == []
        links = {(link["kind"], link["basis"], link["to"]["__typename"]) for link in trained["lineage"]["links"]}
        assert ("TRAINED_ON", "OBSERVED", "DatasetVersion") in links
        assert {basis for _, basis, _ in links} == {"OBSERVED"}
        declared = {(link["kind"], link["basis"]) for link in versions[2]["lineage"]["links"]}
        assert ("FINE_TUNED_FROM", "DECLARED") in declared
        assert {lesson["summary"] for lesson in model["lessons"]["nodes"]} >= {"Fails on glare"}

    async def test_the_charge_of_another_team_s_job_is_not_shown(self, world: World) -> None:
        ours = (await world.ask("mira", "ModelPage", team="maintenance", name="gauge-reader"))["model"]
        produced = [version["producedBy"] for version in ours["versions"]["nodes"] if version["number"] == 1]
        assert produced[0]["id"] == world.ids["job"]
        theirs = (await world.ask("quentin", "ModelPage", team="maintenance", name="gauge-reader"))["model"]
        assert [version["producedBy"] for version in theirs["versions"]["nodes"]] == [None, None]

    async def test_dataset_page(self, world: World) -> None:
        ours = (await world.ask("quentin", "DatasetPage", team="maintenance", name="gauge-readings"))["dataset"]
        assert ours["legal"]["permittedPurposes"] == ["defect-detection"]
        assert (
            ours["viewerAccess"]["allowed"] is False
            or ours["viewerAccess"]["accessGrant"]["purpose"] == "defect-detection"
        )
        (version,) = ours["versions"]["nodes"]
        assert (version["number"], version["state"], version["rows"]) == (1, "READY", "2")
        assert [column["name"] for column in version["columns"]] == ["pressure", "digit"]
        assert [file["path"] for file in version["files"]["nodes"]] == ["readings.csv"]
        assert world.ids["model version"] in {node["id"] for node in ours["usedBy"]["nodes"]}

    async def test_pools(self, world: World) -> None:
        data = await world.ask("mira", "Pools", first=5)
        (pool,) = data["pools"]["nodes"]
        assert (pool["name"], pool["cluster"]) == ("forge", {"name": "here", "region": "eu-local"})
        assert pool["capacity"] == {"total": 2, "used": 0, "waiting": 0}
        assert {(rate["tier"], rate["creditsPerHour"]) for rate in pool["rates"]} == {
            ("STANDARD", "36"),
            ("PREEMPTIBLE", "36"),
        }

    async def test_jobs(self, world: World) -> None:
        filter_ = {"team": {"eq": "maintenance"}, "state": {"in": ["SUCCEEDED", "CANCELLED"]}}
        data = await world.ask("mira", "Jobs", first=5, filter=filter_)
        states = {job["id"]: job["state"] for job in data["jobs"]["nodes"]}
        assert states == {world.ids["job"]: "SUCCEEDED", world.ids["cancelled job"]: "CANCELLED"}
        for job in data["jobs"]["nodes"]:
            charge = job["charge"]
            assert Decimal(charge["captured"]) + Decimal(charge["released"]) == Decimal(3)
        theirs = await world.ask("quentin", "Jobs", first=5, filter=filter_)
        assert theirs["jobs"]["nodes"] == []

    async def test_job_page(self, world: World) -> None:
        page = (await world.ask("mira", "JobPage", id=world.ids["job"]))["node"]
        (attempt,) = page["attempts"]["nodes"]
        assert (attempt["number"], attempt["state"], attempt["exitCode"]) == (1, "ENDED", 0)
        assert len(attempt["runIntervals"]) == 1
        assert "read 3 rows" in page["logTail"]
        assert page["outputs"] == [{"modelVersion": {"id": world.ids["model version"], "number": 1}}]
        assert len(page["events"]["nodes"]) >= 4

    async def test_job_changes(self, world: World) -> None:
        told = await world.follow("mira", "JobChanges", id=world.ids["job"])
        changes = [data["jobChanges"] for data in told]
        assert [change["metric"] for change in changes if change["metric"]] == [
            {"name": "accuracy", "value": 0.75, "step": 1}
        ]
        lines = [change["logLine"] for change in changes if change["logLine"]]
        assert [line["text"] for line in lines if line["stream"] == "stdout"] == ["read 3 rows"]
        assert changes[-1]["state"] == "SUCCEEDED"
        assert changes[-1]["stateReason"]["code"]
        resumed = await world.follow("mira", "JobChanges", id=world.ids["job"], after=changes[-2]["cursor"])
        assert [data["jobChanges"] for data in resumed] == changes[-1:]

    async def test_wallet_page(self, world: World) -> None:
        wallet = (await world.ask("mira", "WalletPage", team="maintenance"))["team"]["wallet"]
        (allocation,) = wallet["allocations"]["nodes"]
        credits = {name: Decimal(allocation[name]) for name in (
            "allocated", "received", "captured", "held", "expired", "returned", "sent", "remaining"
        )}  # fmt: skip
        assert credits["allocated"] + credits["received"] == (
            credits["captured"]
            + credits["held"]
            + credits["expired"]
            + credits["returned"]
            + credits["sent"]
            + credits["remaining"]
        )
        assert credits["held"] == 0
        assert Decimal(wallet["available"]) == credits["remaining"]
        assert world.ids["job"] in {
            transfer["job"]["id"] for transfer in wallet["transfers"]["nodes"] if transfer["job"]
        }

    async def test_who_read_it(self, world: World) -> None:
        data = await world.ask("audrey", "WhoReadIt", resourceId=world.ids["dataset"], first=20)
        acts = [
            (node["outcome"], node["actor"]["__typename"], (node["onBehalfOf"] or {}).get("name"))
            for node in data["auditEvents"]["nodes"]
        ]
        assert ("REFUSED", "User", None) in acts
        assert ("COMPLETED", "User", None) in acts
        assert ("COMPLETED", "Job", "Mira") in acts
        completed = [node for node in data["auditEvents"]["nodes"] if node["outcome"] == "COMPLETED"]
        assert all(node["accessGrant"] for node in completed)
        assert all(
            {"__typename": "DatasetVersion", "id": world.ids["dataset version"], "number": 1} in node["resources"]
            for node in completed
        )
        assert all(node["rows"] and node["bytes"] for node in completed)

    async def test_impact(self, world: World) -> None:
        data = await world.ask("mira", "Impact", id=world.ids["dataset version"], first=20)
        distances = {edge["node"]["id"]: edge["distance"] for edge in data["impact"]["edges"]}
        assert distances[world.ids["model version"]] == 1
        assert distances[world.ids["declared version"]] == 2
        assert data["impact"]["complete"] is True


class TestEnding:
    async def test_withdrawn_access_ends_at_once(self, world: World) -> None:
        await world.change("stella", "WithdrawAccess", accessGrantId=world.ids["grant"], reason="over")
        await read_bytes(world, "quentin", 403)

    async def test_every_document_was_sent(self, world: World) -> None:
        assert set(contract()) == world.sent

    async def test_ids_are_global(self, world: World) -> None:
        for name, key in world.ids.items():
            assert split_id(key) is not None, name
            body = await world.post("mira", "query ($id: ID!) { node(id: $id) { id } }", {"id": key})
            assert body["data"]["node"] in ({"id": key}, None), name
