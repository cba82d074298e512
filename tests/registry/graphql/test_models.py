"""The pages of models, as DOCUMENTS.graphql has them (what the scheduler adds is tested there)."""

from typing import Any
from uuid import UUID

import pytest

from guildhall.clock import new_id
from guildhall.graphql.ids import encode_id
from registry.adoption.adopting import adopt_model
from registry.lessons.recording import LessonSubject, lesson_subject_for_registry, record_lesson
from registry.lessons.tables import LessonOutcome, SubjectKind
from registry.models.aliases import set_alias
from registry.models.reported import Metric
from registry.models.run_outputs import register_run_output
from registry.models.tables import Model
from tests.registry.asking import Asking, model_id, version_id
from tests.registry.house import FILE, House, trained_on

MODELS = """query Models($first: Int!, $after: String, $filter: ModelFilter, $orderBy: ModelOrder) {
  models(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
    nodes {
      id name task description createdAt
      team { name }
      versions(first: 5, orderBy: {field: CREATED_AT, direction: DESC}) {
        nodes { id number status createdAt metrics { name value } }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
}"""
PAGE = """query ModelPage($team: String!, $name: String!) {
  model(team: $team, name: $name) {
    id name task description riskTier
    dataNeeds { features { name type unit required } labelDefinition rowsMin }
    aliases { name version { number } protected }
    versions(first: 10) {
      totalCount
      nodes {
        id number status statusReason { code message }
        card { completeness missing sections { name body } }
        metrics { name value split }
        artifacts(first: 20) { nodes { path sizeBytes sha256 url } }
        lineage(direction: UPSTREAM, depth: 3, first: 50) {
          complete
          links { kind basis from { __typename id } to { __typename id } }
        }
      }
    }
    lessons(first: 5) {
      nodes { id summary body outcome dontUseWhen evidence { subject { id } } author { name } createdAt }
    }
    adoptions(first: 10) { totalCount nodes { team { name } version { number } since } }
  }
}"""


async def learn(house: House, subject: LessonSubject, summary: str, *, by: str = "anna") -> UUID:
    return await record_lesson(
        house.session,
        house.actor(by),
        subject=subject,
        summary=summary,
        body="Normalise contrast first.",
        outcome=LessonOutcome.MIXED,
        dont_use_when="there is glare",
        at=house.at,
        new_id=new_id,
    )


async def champion(house: House, model: UUID, version: UUID) -> UUID:
    return await set_alias(
        house.session,
        house.actor("anna"),
        model_id=model,
        name="champion",
        model_version_id=version,
        reason="best",
        at=house.at,
        new_id=new_id,
    )


async def on_version(house: House, version: UUID) -> LessonSubject:
    return await lesson_subject_for_registry(house.session, house.actor("anna"), SubjectKind.MODEL_VERSION, version)


class TestModelPage:
    async def test_tells_all(self, ask: Asking) -> None:
        async with ask.house() as house:
            data = await house.dataset_version(await house.dataset())
            model = await house.model()
            version = await house.version(
                model, sources=[trained_on(data)], metrics=[Metric(name="accuracy", value=0.97, split="test")]
            )
            lesson = await learn(house, await on_version(house, version), "Fails on glare.")
        page = (await ask("quinn", PAGE, team="maintenance", name="gauge-reader"))["model"]
        assert page == {
            "id": model_id(model),
            "name": "gauge-reader",
            "task": "image-classification",
            "description": "Reads the dials of gauges.",
            "riskTier": "LOW",
            "dataNeeds": None,
            "aliases": [],
            "versions": {
                "totalCount": 1,
                "nodes": [
                    {
                        "id": version_id(version),
                        "number": 1,
                        "status": "READY",
                        "statusReason": None,
                        "card": {
                            "completeness": 0.0,
                            "missing": ["Intended use", "Training data", "Metrics"],
                            "sections": [],
                        },
                        "metrics": [{"name": "accuracy", "value": 0.97, "split": "test"}],
                        "artifacts": {
                            "nodes": [{"path": FILE.path, "sizeBytes": "3", "sha256": FILE.sha256, "url": None}]
                        },
                        "lineage": {
                            "complete": True,
                            "links": [
                                {
                                    "kind": "TRAINED_ON",
                                    "basis": "DECLARED",
                                    "from": {"__typename": "ModelVersion", "id": version_id(version)},
                                    "to": {"__typename": "DatasetVersion", "id": encode_id("DatasetVersion", data)},
                                }
                            ],
                        },
                    }
                ],
            },
            "lessons": {
                "nodes": [
                    {
                        "id": encode_id("Lesson", lesson),
                        "summary": "Fails on glare.",
                        "body": "Normalise contrast first.",
                        "outcome": "MIXED",
                        "dontUseWhen": "there is glare",
                        "evidence": {"subject": {"id": version_id(version)}},
                        "author": {"name": "Anna"},
                        "createdAt": "2026-03-02T08:00:00.000000Z",
                    }
                ]
            },
            "adoptions": {"totalCount": 0, "nodes": []},
        }

    async def test_needs_of_the_champion_before_those_of_the_latest(self, ask: Asking) -> None:
        document = """{ model(team: "maintenance", name: "gauge-reader") {
            dataNeeds { rowsMin } aliases { name version { number } } } }"""
        async with ask.house() as house:
            model = await house.model()
            first = await house.published(model)
            second = await house.version(model)
        latest = (await ask("quinn", document))["model"]
        assert latest == {"dataNeeds": {"rowsMin": "100"}, "aliases": []}
        async with ask.house() as house:
            await champion(house, model, second)
        assert (await ask("quinn", document))["model"] == {
            "dataNeeds": None,
            "aliases": [{"name": "champion", "version": {"number": 2}}],
        }
        async with ask.house() as house:
            await champion(house, model, first)
        assert (await ask("quinn", document))["model"]["dataNeeds"] == {"rowsMin": "100"}

    async def test_lessons_of_versions_and_of_jobs_that_aimed_at_it(self, ask: Asking) -> None:
        async with ask.house() as house:
            model = await house.model()
            await learn(house, await on_version(house, await house.version(model)), "From a version.")
            team, job = house.teams["maintenance"], new_id()
            on_job = LessonSubject(kind=SubjectKind.JOB, id=job, team_id=team, model_id=model, job_id=job)
            await learn(house, on_job, "From a run that led nowhere.")
        document = """{ model(team: "maintenance", name: "gauge-reader") {
            lessons(first: 5) { totalCount nodes { summary } } } }"""
        lessons = (await ask("quinn", document))["model"]["lessons"]
        assert lessons["totalCount"] == 2
        assert {node["summary"] for node in lessons["nodes"]} == {"From a version.", "From a run that led nowhere."}

    async def test_adoptions_that_live(self, ask: Asking) -> None:
        async with ask.house() as house:
            version = await house.published(await house.model())
            await adopt_model(
                house.session,
                house.actor("paul"),
                model_version_id=version,
                team="quality",
                purpose="line 3",
                at=house.at,
                new_id=new_id,
            )
        document = """{ model(team: "maintenance", name: "gauge-reader") {
            adoptions(first: 5) { totalCount nodes {
                id purpose team { name } version { number } since adoptedBy { name } } } } }"""
        adoptions = (await ask("quinn", document))["model"]["adoptions"]
        (node,) = adoptions["nodes"]
        adoption = node.pop("id")
        assert node == {
            "purpose": "line 3",
            "team": {"name": "quality"},
            "version": {"number": 1},
            "since": "2026-03-02T08:00:00.000000Z",
            "adoptedBy": {"name": "Paul"},
        }
        end = """mutation ($input: EndAdoptionInput!) {
            endAdoption(input: $input) { adoption { endedAt } errors { code } } }"""
        assert (await ask("paul", end, input={"adoptionId": adoption}))["endAdoption"] == {
            "adoption": {"endedAt": "2026-03-02T08:00:00.000000Z"},
            "errors": [],
        }
        assert (await ask("quinn", document))["model"]["adoptions"] == {"totalCount": 0, "nodes": []}

    async def test_as_many_statements_for_ten_versions_as_for_six(self, ask: Asking) -> None:
        async with ask.house() as house:
            data = await house.dataset_version(await house.dataset())
            for name, versions in (("small", 6), ("big", 10)):
                model = await house.model(name)
                for _ in range(versions):
                    metrics = [Metric(name="loss", value=1.0)]
                    version = await house.version(model, sources=[trained_on(data)], metrics=metrics)
                    await learn(house, await on_version(house, version), "Fails on glare.")
                    await house.complete_card(version)
        counts = {}
        for name, versions in (("small", 6), ("big", 10)):
            with ask.counted() as statements:
                page = await ask("quinn", PAGE, team="maintenance", name=name)
            assert len(page["model"]["versions"]["nodes"]) == versions
            counts[name] = len(statements)
        assert counts["big"] == counts["small"]


class TestModels:
    async def test_pages_in_order(self, ask: Asking) -> None:
        async with ask.house() as house:
            for name in ("b", "a", "c"):
                await house.model(name)
        order = {"field": "NAME", "direction": "ASC"}
        page = (await ask("mia", MODELS, first=2, orderBy=order))["models"]
        assert ([node["name"] for node in page["nodes"]], page["pageInfo"]["hasNextPage"]) == (["a", "b"], True)
        rest = (await ask("mia", MODELS, first=2, orderBy=order, after=page["pageInfo"]["endCursor"]))["models"]
        assert ([node["name"] for node in rest["nodes"]], rest["pageInfo"]["hasNextPage"]) == (["c"], False)

    @pytest.mark.parametrize(
        ("given", "names"),
        [
            ({"team": {"eq": "quality"}}, ["theirs"]),
            ({"riskTier": {"in": ["HIGH"]}}, ["risky"]),
            ({"status": {"eq": "PUBLISHED"}}, ["published"]),
            ({"tag": "Vision"}, ["tagged"]),
            ({"task": {"eq": "ranking"}}, ["tagged"]),
            ({"visibility": {"eq": "TEAM"}}, ["hidden"]),
            ({"adoptedBy": {"eq": "quality"}}, ["published"]),
            ({"name": {"in": ["risky", "nothing"]}}, ["risky"]),
            ({"createdAt": {"to": "2026-03-02T08:00:00Z"}}, []),
        ],
    )
    async def test_filters(self, ask: Asking, given: dict[str, Any], names: list[str]) -> None:
        async with ask.house() as house:
            await house.model("theirs", by="quinn", team="quality")
            await house.model("risky", risk_tier="HIGH")
            await house.model("tagged", tags=["vision"], task="ranking")
            await house.model("hidden", visibility="TEAM")
            version = await house.published(await house.model("published"))
            await adopt_model(
                house.session,
                house.actor("paul"),
                model_version_id=version,
                team="quality",
                purpose="x",
                at=house.at,
                new_id=new_id,
            )
        page = (await ask("vera", MODELS, first=9, filter=given))["models"]
        assert [node["name"] for node in page["nodes"]] == names

    async def test_what_is_hidden_is_nowhere(self, ask: Asking) -> None:
        async with ask.house() as house:
            model = await house.model("hidden", visibility="TEAM")
            version = await house.version(model)
        document = """query ($model: ID!, $version: ID!) {
            model(team: "maintenance", name: "hidden") { id }
            models(first: 9) { totalCount nodes { id } }
            team(name: "maintenance") { models(first: 9) { totalCount } }
            one: node(id: $model) { id } two: node(id: $version) { id } }"""
        given = {"model": model_id(model), "version": version_id(version)}
        assert await ask("quinn", document, **given) == {
            "model": None,
            "models": {"totalCount": 0, "nodes": []},
            "team": {"models": {"totalCount": 0}},
            "one": None,
            "two": None,
        }
        assert (await ask("vera", document, **given))["two"] == {"id": version_id(version)}

    async def test_as_many_statements_for_fifty_as_for_one(self, ask: Asking) -> None:
        async with ask.house() as house:
            for number in range(50):
                await house.version(await house.model(f"model-{number}"), metrics=[Metric(name="loss", value=1.0)])
        counts = []
        for first in (1, 50):
            with ask.counted() as statements:
                page = await ask("quinn", MODELS, first=first)
            assert len(page["models"]["nodes"]) == first
            counts.append(len(statements))
        assert counts[0] == counts[1]


class TestNode:
    async def test_every_type(self, ask: Asking) -> None:
        async with ask.house() as house:
            model = await house.model()
            version = await house.published(model)
            alias = await champion(house, model, version)
            lesson = await learn(house, await on_version(house, version), "Fails on glare.")
            adoption = await adopt_model(
                house.session,
                house.actor("paul"),
                model_version_id=version,
                team="quality",
                purpose="line 3",
                at=house.at,
                new_id=new_id,
            )
            job = house.job("maintenance", "carl")
            output = await register_run_output(
                house.session,
                job,
                model_id=model,
                files=[FILE],
                metrics=[],
                parameters={},
                environment={"python": "3.11", "platform": "Linux", "packages": {"numpy": "2.3"}},
                inputs=[],
                package_id=None,
                job_id=job.id,
                card={},
                at=house.at,
                new_id=new_id,
            )
        ids = [
            model_id(model),
            version_id(version),
            version_id(output.model_version_id),
            encode_id("Alias", alias),
            encode_id("Lesson", lesson),
            encode_id("Adoption", adoption),
        ]
        document = "query ($id: ID!) { node(id: $id) { __typename id } }"
        for key in ids:
            node = (await ask("quinn", document, id=key))["node"]
            assert node == {"__typename": key.partition("_")[0], "id": key}
            assert (await ask("omar", document, id=key))["node"] is None
        environment = """query ($id: ID!) { node(id: $id) { ... on ModelVersion { parameters lineage { complete links {
            kind to { __typename ... on Environment { python platform packages digest } } } } } } }"""
        lineage = (await ask("quinn", environment, id=version_id(output.model_version_id)))["node"]["lineage"]
        (link,) = [link for link in lineage["links"] if link["kind"] == "RAN_IN"]
        assert link["to"]["packages"] == {"numpy": "2.3"}
        assert (link["to"]["python"], link["to"]["platform"], len(link["to"]["digest"])) == ("3.11", "Linux", 64)


class TestAlias:
    async def test_remembers_its_moves(self, ask: Asking) -> None:
        async with ask.house() as house:
            model = await house.model()
            first, second = await house.version(model), await house.version(model)
            await champion(house, model, first)
            await champion(house, model, second)
        document = """{ model(team: "maintenance", name: "gauge-reader") {
            aliases { changes(first: 5) { totalCount nodes {
                fromVersion { number } toVersion { number } reason changedBy { name } } } } } }"""
        (alias,) = (await ask("quinn", document))["model"]["aliases"]
        by = {"reason": "best", "changedBy": {"name": "Anna"}}
        assert alias["changes"]["totalCount"] == 2
        assert {(move["fromVersion"] or {}).get("number") for move in alias["changes"]["nodes"]} == {None, 1}
        assert all({key: move[key] for key in by} == by for move in alias["changes"]["nodes"])


class TestRestrictions:
    async def test_are_shown(self, ask: Asking) -> None:
        async with ask.house() as house:
            data = await house.dataset_version(await house.dataset())
            version = await house.version(await house.model(), sources=[trained_on(data)])
            await house.change(Model, new_id(), task="nothing")
        document = """query ($id: ID!) { node(id: $id) { ... on ModelVersion {
            restrictions { classification permittedPurposes regions retentionEndsOn } } } }"""
        assert (await ask("mia", document, id=version_id(version)))["node"]["restrictions"] == {
            "classification": "CONFIDENTIAL",
            "permittedPurposes": ["quality", "research"],
            "regions": ["eu", "us"],
            "retentionEndsOn": None,
        }
