from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import NotFound
from registry.artifacts.tables import Artifact
from registry.cards.tables import CardSection
from registry.lineage.edges import LineageSource
from registry.lineage.tables import Environment, LineageEdge, NodeKind
from registry.models.reported import Metric
from registry.models.run_outputs import OutputElsewhere, RunOutput, register_run_output
from registry.models.tables import ModelMetric, ModelVersion
from registry.models.uploading import MODEL_VERSION_OWNER
from tests.registry.house import FILE, House

ENVIRONMENT: dict[str, Any] = {
    "python": "3.11.7",
    "platform": "Linux",
    "packages": {"scikit-learn": "1.9.0", "numpy": "2.3.1"},
}


async def output(house: House, actor: Actor, model_id: UUID, **given: Any) -> RunOutput:
    assert actor.job is not None
    values: dict[str, Any] = {
        "files": [FILE],
        "metrics": [Metric(name="accuracy", value=0.97, split="test")],
        "parameters": {"depth": 3},
        "environment": ENVIRONMENT,
        "inputs": [],
        "package_id": None,
        "job_id": actor.job.job_id,
        "card": {},
        **given,
    }
    return await register_run_output(house.session, actor, model_id=model_id, at=house.at, new_id=new_id, **values)


class TestRegisterRunOutput:
    async def test_observes_what_the_run_was_made_from(self, house: House) -> None:
        base = await house.version(await house.model("base"))
        data = await house.dataset_version(await house.dataset())
        package, actor = await house.package(), house.job("maintenance", "carl")
        made = await output(
            house,
            actor,
            await house.model(),
            inputs=[LineageSource(NodeKind.DATASET_VERSION, data), LineageSource(NodeKind.MODEL_VERSION, base)],
            package_id=package,
        )
        version = await house.facts(made.model_version_id)
        assert actor.job is not None
        assert (version.status, version.created_by, version.produced_by_job_id, version.produced_by_attempt_id) == (
            "DRAFT",
            house.people["carl"],
            actor.job.job_id,
            actor.job.attempt_id,
        )
        environment = (await house.session.scalars(select(Environment))).one()
        edges = (await house.session.scalars(select(LineageEdge).order_by(LineageEdge.kind))).all()
        assert [(edge.kind, edge.to_kind, edge.to_id) for edge in edges] == [
            ("BUILT_FROM", "PACKAGE", package),
            ("FINE_TUNED_FROM", "MODEL_VERSION", base),
            ("PRODUCED_BY", "JOB", actor.job.job_id),
            ("RAN_IN", "ENVIRONMENT", environment.id),
            ("TRAINED_ON", "DATASET_VERSION", data),
        ]
        assert {(edge.from_id, edge.basis, edge.job_id) for edge in edges} == {
            (version.id, "OBSERVED", actor.job.job_id)
        }
        assert version.effective_classification == "CONFIDENTIAL"
        assert (version.effective_permitted_purposes, version.effective_regions) == (
            ["quality", "research"],
            ["eu", "us"],
        )

    async def test_fills_in_the_card(self, house: House) -> None:
        base = await house.version(await house.model("base"))
        data = await house.dataset_version(await house.dataset())
        await output(
            house,
            house.job("maintenance", "carl"),
            await house.model(),
            inputs=[LineageSource(NodeKind.DATASET_VERSION, data), LineageSource(NodeKind.MODEL_VERSION, base)],
            package_id=await house.package(),
            metrics=[
                Metric(name="loss", value=0.9, step=1),
                Metric(name="loss", value=0.25, step=2),
                Metric(name="accuracy", value=0.975, split="test"),
            ],
            card={"intended use": "Reading dials.", "metrics": "Measured on a fifth.", "Own words": "Yes."},
        )
        statement = select(CardSection).order_by(CardSection.position, CardSection.name)
        sections = (await house.session.scalars(statement)).all()
        assert {section.origin for section in sections} == {"RUN"}
        assert {section.updated_by for section in sections} == {house.people["carl"]}
        assert [(section.name, section.body) for section in sections] == [
            ("Intended use", "Reading dials."),
            ("Training data", "- maintenance/gauge-digits, version 1: 1797 rows, CONFIDENTIAL, CC-BY-4.0"),
            (
                "Procedure",
                (
                    "- Trained further from maintenance/base, version 1.\n"
                    f"- Trained by the package with SHA-256 `{FILE.sha256}`."
                ),
            ),
            (
                "Metrics",
                (
                    "Measured on a fifth.\n\n"
                    "| metric | split | value |\n| --- | --- | --- |\n| accuracy | test | 0.975 |\n| loss |  | 0.25 |"
                ),
            ),
            ("Parameters", "| parameter | value |\n| --- | --- |\n| depth | 3 |"),
            ("Environment", "- Python: 3.11.7\n- platform: Linux\n- numpy 2.3.1\n- scikit-learn 1.9.0"),
            ("Own words", "Yes."),
        ]

    async def test_the_same_attempt_gets_the_same_version(self, house: House) -> None:
        actor, model_id = house.job("maintenance", "carl"), await house.model()
        first = await output(house, actor, model_id)
        again = await output(house, actor, model_id)
        assert (first.made, again.made, again.model_version_id) == (True, False, first.model_version_id)
        assert (await house.count(ModelVersion), await house.count(Artifact), await house.count(ModelMetric)) == (
            1,
            1,
            1,
        )
        assert len(await house.events("registry:model:add-version")) == 1

    async def test_another_attempt_gives_up_what_the_first_left(self, house: House) -> None:
        model_id, first = await house.model(), house.job("maintenance", "carl")
        left = await output(house, first, model_id)
        second = await output(house, house.job("maintenance", "carl", job_id=first.id), model_id)
        versions = [await house.facts(key.model_version_id) for key in (left, second)]
        assert [(version.number, version.status, version.status_code) for version in versions] == [
            (1, "ABANDONED", "ATTEMPT_ENDED"),
            (2, "DRAFT", None),
        ]

    async def test_one_environment_for_equal_ones(self, house: House) -> None:
        model_id = await house.model()
        shuffled = {
            "platform": "Linux",
            "packages": dict(reversed(ENVIRONMENT["packages"].items())),
            "python": "3.11.7",
        }
        await output(house, house.job("maintenance", "carl"), model_id)
        await output(house, house.job("maintenance", "carl"), model_id, environment={**shuffled, "digest": "made up"})
        await output(house, house.job("maintenance", "carl"), model_id, environment={**ENVIRONMENT, "python": "3.12.1"})
        assert await house.count(Environment) == 2

    async def test_one_output_for_an_attempt(self, house: House) -> None:
        actor = house.job("maintenance", "carl")
        await output(house, actor, await house.model())
        other = await house.model("other")
        with pytest.raises(OutputElsewhere):
            await output(house, actor, other)
        assert await house.count(ModelVersion) == 1

    async def test_not_on_the_model_of_another_team(self, house: House) -> None:
        model_id = await house.model()
        with pytest.raises(PermissionRefused):
            await output(house, house.job("quality", "paul"), model_id)
        assert (await house.count(ModelVersion), await house.count(LineageEdge)) == (0, 0)

    async def test_metrics_that_do_not_fit_are_left_out(self, house: House) -> None:
        metrics = [Metric(name="loss", value=float("nan"), step=0), Metric(name="loss", value=2.0, step=1)]
        metrics += [Metric(name=f"m{number}", value=1.0) for number in range(500)]
        await output(house, house.job("maintenance", "carl"), await house.model(), metrics=metrics)
        names = (await house.session.scalars(select(ModelMetric.name).order_by(ModelMetric.id))).all()
        assert (len(names), names[0], names[-1]) == (500, "m0", "m499")

    async def test_unknown_model(self, house: House) -> None:
        with pytest.raises(NotFound):
            await output(house, house.job("maintenance", "carl"), new_id())


class TestRequireUploader:
    async def test_a_job_uploads_what_its_own_attempt_makes(self, house: House) -> None:
        actor, model_id = house.job("maintenance", "carl"), await house.model()
        made = await output(house, actor, model_id)
        right = await MODEL_VERSION_OWNER.require_writer(house.session, actor, made.model_version_id)
        assert (right.permission, right.team_id) == ("registry:model:add-version", house.teams["maintenance"])
        assert [resource.id for resource in right.resources] == [made.model_version_id, model_id]
        stranger = house.job("maintenance", "carl", job_id=actor.id)
        with pytest.raises(NotFound):
            await MODEL_VERSION_OWNER.require_writer(house.session, stranger, made.model_version_id)

    async def test_people_by_their_role(self, house: House) -> None:
        version_id = await house.version(await house.model(), ready=False)
        right = await MODEL_VERSION_OWNER.require_writer(house.session, house.actor("carl"), version_id)
        assert right.permission == "registry:model:add-version"
        with pytest.raises(PermissionRefused):
            await MODEL_VERSION_OWNER.require_writer(house.session, house.actor("vera"), version_id)
