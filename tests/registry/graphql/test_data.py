"""The documents of the contract about data, as clients send them, and what they answer to the letter."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.audit.tables import AuditEvent
from guildhall.auth.policy import PolicySnapshot
from guildhall.graphql.ids import encode_id
from registry.artifacts.tables import OwnerKind
from registry.artifacts.tickets import UploadTickets
from registry.datasets.tables import Dataset
from tests.registry.asking import Asking
from tests.registry.estate import digest, granted, registered, version_ref, versioned
from tests.registry.graphql.contract import (
    CONTENT,
    DATASET,
    DOCUMENTS,
    LEGAL,
    VERSION,
    create_version,
    key,
    mutate,
    register,
    send,
)
from tests.registry.house import fine_tuned_from, trained_on

pytestmark = pytest.mark.usefixtures("purposes")


class TestRegisterDataset:
    async def test_as_the_contract_says(self, ask: Asking) -> None:
        payload = await mutate(ask, "anna", "RegisterDataset", **DATASET)
        dataset = payload["dataset"]
        assert payload == {
            "dataset": {
                "id": dataset["id"],
                "name": "gauge-digits",
                "team": {"name": "maintenance"},
                "classification": "CONFIDENTIAL",
                "stewards": [{"email": "mia@example.org"}],
            },
            "errors": [],
        }

    async def test_what_can_be_mended_is_told(self, ask: Asking) -> None:
        payload = await mutate(ask, "anna", "RegisterDataset", **{**DATASET, "stewards": ["nobody@example.org"]})
        assert payload == {
            "dataset": None,
            "errors": [
                {
                    "code": "NOT_FOUND",
                    "message": "Nobody with the address 'nobody@example.org' is here.",
                    "field": "stewards[0]",
                }
            ],
        }

    async def test_a_refusal_is_an_error_and_is_recorded(self, ask: Asking) -> None:
        assert await ask.refused("vera", DOCUMENTS["RegisterDataset"], input=DATASET) == ["PERMISSION_REFUSED"]
        async with ask.database.read() as session:
            (event,) = (await session.scalars(select(AuditEvent).where(AuditEvent.outcome == "REFUSED"))).all()
            assert (await session.scalars(select(Dataset))).all() == []
        assert (event.action, event.actor_id) == ("registry:dataset:register", ask.actor("vera").id)

    async def test_the_same_key_gives_the_first_answer(self, ask: Asking) -> None:
        first = await mutate(ask, "anna", "RegisterDataset", **DATASET, idempotencyKey="once")
        again = await mutate(ask, "anna", "RegisterDataset", **DATASET, idempotencyKey="once")
        assert again == first
        async with ask.database.read() as session:
            assert len((await session.scalars(select(Dataset))).all()) == 1


class TestUploads:
    async def test_from_announcement_to_ready(self, ask: Asking) -> None:
        created = await create_version(ask, await register(ask))
        version_id = created["datasetVersion"]["id"]
        assert (created["datasetVersion"]["number"], created["datasetVersion"]["state"]) == (1, "DRAFT")
        assert created["errors"] == []
        (upload,) = created["uploads"]
        assert (upload["path"], upload["method"], upload["partSizeBytes"]) == ("data.csv", "PUT", 8 * 1024 * 1024)
        assert upload["url"].startswith("http://127.0.0.1:8321/artifacts/uploads/")
        (header,) = upload["headers"]
        assert header["name"] == "X-Guildhall-Upload"
        tickets = UploadTickets(b"k" * 32)
        tickets.check(header["value"], OwnerKind.DATASET_VERSION, key(version_id), at=ask.clock.now())

        too_early = await mutate(ask, "anna", "CompleteUploads", ownerId=version_id)
        message = f"{len(CONTENT)} bytes were announced, none came."
        assert too_early == {
            "owner": {"__typename": "DatasetVersion", "id": version_id},
            "missing": [{"path": "data.csv", "code": "NOT_UPLOADED", "message": message}],
            "errors": [],
        }
        await send(ask, upload, CONTENT)
        done = await mutate(ask, "anna", "CompleteUploads", ownerId=version_id)
        assert done == {"owner": {"__typename": "DatasetVersion", "id": version_id}, "missing": [], "errors": []}
        assert await mutate(ask, "anna", "CompleteUploads", ownerId=version_id) == done

    async def test_the_same_key_gives_fresh_addresses_for_what_is_missing(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        first = await create_version(ask, dataset_id, idempotencyKey="once")
        ask.clock.advance(seconds=3600)
        again = await create_version(ask, dataset_id, idempotencyKey="once")
        assert again["datasetVersion"] == first["datasetVersion"]
        assert again["uploads"][0]["url"] == first["uploads"][0]["url"]
        assert again["uploads"][0]["headers"] != first["uploads"][0]["headers"]
        await send(ask, first["uploads"][0], CONTENT)
        await mutate(ask, "anna", "CompleteUploads", ownerId=first["datasetVersion"]["id"])
        assert (await create_version(ask, dataset_id, idempotencyKey="once"))["uploads"] == []

    async def test_the_same_key_gives_no_address_to_who_lost_the_right(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        await create_version(ask, dataset_id, idempotencyKey="once")
        anna = ask.actor("anna")
        without_roles = PolicySnapshot(replace(anna.policy.rules, bindings={anna.subject: ()}))
        values = {"datasetId": dataset_id, "idempotencyKey": "once"} | VERSION
        answer = await ask(replace(anna, policy=without_roles), DOCUMENTS["CreateDatasetVersion"], input=values)
        assert answer["createDatasetVersion"]["datasetVersion"]["number"] == 1
        assert answer["createDatasetVersion"]["uploads"] == []

    async def test_a_package(self, ask: Asking) -> None:
        created = await mutate(
            ask, "paul", "CreatePackage", team="quality", sizeBytes=len(CONTENT), sha256=digest(CONTENT)
        )
        assert (created["package"]["sha256"], created["errors"]) == (digest(CONTENT), [])
        await send(ask, created["uploads"][0], CONTENT)
        done = await mutate(ask, "paul", "CompleteUploads", ownerId=created["package"]["id"])
        assert (done["owner"]["__typename"], done["missing"]) == ("Package", [])
        node = "query($id: ID!) { node(id: $id) { ... on Package { state sizeBytes team { name } } } }"
        package_id = created["package"]["id"]
        assert await ask("quinn", node, id=package_id) == {
            "node": {"state": "READY", "sizeBytes": str(len(CONTENT)), "team": {"name": "quality"}}
        }
        assert await ask("anna", node, id=package_id) == {"node": None}

    @pytest.mark.parametrize(
        ("given", "code", "field"),
        [
            ({"sha256": "abc"}, "INVALID_DIGEST", "sha256"),
            ({"sizeBytes": -1}, "INVALID_SIZE", "sizeBytes"),
            ({"sizeBytes": 512 * 1024**2 + 1}, "PACKAGE_TOO_LARGE", "sizeBytes"),
            ({"team": "nobody"}, "NOT_FOUND", "team"),
        ],
    )
    async def test_a_package_that_cannot_be(self, ask: Asking, given: dict[str, Any], code: str, field: str) -> None:
        values = {"team": "quality", "sizeBytes": 1, "sha256": digest(b"x"), **given}
        payload = await mutate(ask, "paul", "CreatePackage", **values)
        assert [(error["code"], error["field"]) for error in payload["errors"]] == [(code, field)]
        assert (payload["package"], payload["uploads"]) == (None, [])

    @pytest.mark.parametrize("wrong", ["", "nonsense", encode_id("Model", UUID(int=1))])
    async def test_an_owner_that_is_none(self, ask: Asking, wrong: str) -> None:
        payload = await mutate(ask, "anna", "CompleteUploads", ownerId=wrong)
        assert [(error["code"], error["field"]) for error in payload["errors"]] == [("NOT_FOUND", "ownerId")]


class TestDatasetPage:
    async def test_as_the_contract_says(self, ask: Asking) -> None:
        async with ask.house() as house:
            dataset_id = await registered(house)
            version_id = await versioned(house, dataset_id)
            used = await house.version(await house.model(), sources=[trained_on(version_id)])
            await house.version(await house.model("derived"), sources=[fine_tuned_from(used)])
        page = await ask("quinn", DOCUMENTS["DatasetPage"], team="maintenance", name="gauge-digits")
        assert page == {
            "dataset": {
                "id": encode_id("Dataset", dataset_id),
                "name": "gauge-digits",
                "description": "Dials, photographed.",
                "classification": "CONFIDENTIAL",
                "legal": {
                    "licence": "CC-BY-4.0",
                    "legalBasis": "contract",
                    "permittedPurposes": ["quality", "research"],
                    "retentionEndsOn": None,
                    "regions": ["eu"],
                },
                "stewards": [{"name": "Mia", "email": "mia@example.org"}],
                "versions": {
                    "nodes": [
                        {
                            "id": encode_id("DatasetVersion", version_id),
                            "number": 1,
                            "state": "READY",
                            "rows": "1797",
                            "columns": [
                                {"name": "image", "type": "float", "unit": None, "personal": False},
                                {"name": "digit", "type": "float", "unit": None, "personal": False},
                            ],
                            "files": {"nodes": [{"path": "data.csv", "sizeBytes": "3", "sha256": digest(b"abc")}]},
                        }
                    ]
                },
                "viewerAccess": {
                    "allowed": False,
                    "reason": {
                        "code": "ACCESS_GRANT_REQUIRED",
                        "message": "It is CONFIDENTIAL and goes by access grant only. Ask the steward mia@example.org "
                        "with requestAccess, for one of the purposes quality, research.",
                    },
                    "accessGrant": None,
                },
                "usedBy": {"nodes": [{"__typename": "ModelVersion", "id": encode_id("ModelVersion", used)}]},
            }
        }

    async def test_who_has_access_sees_under_which_grant(self, ask: Asking) -> None:
        async with ask.house() as house:
            version_id = await versioned(house, await registered(house))
            grant_id = await granted(house, [version_ref(version_id)])
        document = """query($id: ID!) { node(id: $id) { ... on DatasetVersion {
            viewerAccess { allowed reason { code } accessGrant { id validTo purpose } } } } }"""
        assert await ask("paul", document, id=encode_id("DatasetVersion", version_id)) == {
            "node": {
                "viewerAccess": {
                    "allowed": True,
                    "reason": None,
                    "accessGrant": {
                        "id": encode_id("AccessGrant", grant_id),
                        "validTo": "2026-03-03T08:00:00.000000Z",
                        "purpose": "quality",
                    },
                }
            }
        }

    async def test_what_one_cannot_see_is_not_there(self, ask: Asking) -> None:
        async with ask.house() as house:
            dataset_id = await registered(house, visibility="TEAM")
            version_id = await versioned(house, dataset_id)
        assert await ask("quinn", DOCUMENTS["DatasetPage"], team="maintenance", name="gauge-digits") == {
            "dataset": None
        }
        node = "query($id: ID!) { node(id: $id) { id } }"
        for global_id in (encode_id("Dataset", dataset_id), encode_id("DatasetVersion", version_id)):
            assert await ask("quinn", node, id=global_id) == {"node": None}
            assert await ask("mia", node, id=global_id) == {"node": {"id": global_id}}

    async def test_what_one_cannot_see_used_it_for_nobody(self, ask: Asking) -> None:
        async with ask.house() as house:
            version_id = await versioned(house, await registered(house))
            hidden = await house.model(visibility="TEAM")
            await house.version(hidden, sources=[trained_on(version_id)])
        document = """query { dataset(team: "maintenance", name: "gauge-digits") {
            usedBy(first: 5) { totalCount nodes { id } } } }"""
        seen = {who: (await ask(who, document))["dataset"]["usedBy"]["totalCount"] for who in ("anna", "quinn")}
        assert seen == {"anna": 1, "quinn": 0}

    async def test_a_page_of_many_costs_what_a_page_of_one_costs(self, ask: Asking) -> None:
        async with ask.house() as house:
            for number in range(12):
                version_id = await versioned(house, await registered(house, f"data-{number}"))
                await house.version(await house.model(f"model-{number}"), sources=[trained_on(version_id)])
        document = """query($first: Int!) { datasets(first: $first) { nodes {
            name team { name } legal { licence } stewards { email } viewerAccess { allowed accessGrant { id } }
            usedBy(first: 2) { totalCount }
            versions(first: 2) { nodes { number viewerAccess { allowed } files(first: 2) { nodes { path url } } } }
            accessGrants(first: 2) { nodes { basis team { name } resources { __typename id } } } } } }"""
        counts = []
        for first in (1, 12):
            with ask.counted() as statements:
                answer = await ask("anna", document, first=first)
            assert len(answer["datasets"]["nodes"]) == first
            counts.append(len(statements))
        assert counts[0] == counts[1]


class TestUpdateLegalRecord:
    async def test_by_a_steward(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        document = """mutation($input: UpdateLegalRecordInput!) { updateLegalRecord(input: $input) {
            dataset { classification legal { permittedPurposes } } errors { code field } } }"""
        given = {
            "datasetId": dataset_id,
            "classification": "INTERNAL",
            "legal": {**LEGAL, "permittedPurposes": ["research"]},
        }
        answer = await ask("mia", document, input=given)
        assert answer["updateLegalRecord"] == {
            "dataset": {"classification": "INTERNAL", "legal": {"permittedPurposes": ["research"]}},
            "errors": [],
        }
        assert await ask.refused("anna", document, input=given) == ["STEWARD_REQUIRED"]


class TestPurposes:
    async def test_the_list(self, ask: Asking) -> None:
        answer = await ask("vera", "query { purposes { name description } }")
        assert answer["purposes"] == [
            {"name": "marketing", "description": "Marketing"},
            {"name": "quality", "description": "Quality"},
            {"name": "research", "description": "Research"},
        ]
