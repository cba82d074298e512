import pytest
from sqlalchemy import select

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, InvalidInput, NotFound
from registry.artifacts.tables import Artifact
from registry.datasets.tables import Visibility
from registry.lineage.edges import Edge, LineageSource
from registry.lineage.sources import TooManySources
from registry.lineage.tables import EdgeKind, LineageEdge, NodeKind
from registry.models.reported import Metric
from registry.models.tables import Model, ModelMetric, ModelVersion
from registry.models.uploading import finish_version
from tests.registry.house import FILE, House, fine_tuned_from, trained_on


class TestCreateModelVersion:
    async def test_is_a_draft_with_its_files_announced(self, house: House) -> None:
        version_id = await house.version(await house.model(), ready=False, parameters={"depth": 3})
        version = await house.facts(version_id)
        assert (version.number, version.status, version.parameters) == (1, "DRAFT", {"depth": 3})
        assert (version.effective_classification, version.effective_permitted_purposes) == ("PUBLIC", None)
        files = (await house.session.scalars(select(Artifact))).all()
        assert [(file.owner_kind, file.owner_id, file.path, file.state) for file in files] == [
            ("MODEL_VERSION", version_id, FILE.path, "PENDING")
        ]

    async def test_numbers_count_up_per_model(self, house: House) -> None:
        first, second = await house.model(), await house.model("other")
        made = [await house.version(model) for model in (first, first, second)]
        assert [(await house.facts(version)).number for version in made] == [1, 2, 1]

    async def test_keeps_metrics_once_each(self, house: House) -> None:
        metrics = [
            Metric(name="accuracy", value=0.5, split="test"),
            Metric(name="accuracy", value=0.75, split="test"),
            Metric(name="accuracy", value=1.0, split="train", step=3),
        ]
        version_id = await house.version(await house.model(), metrics=metrics)
        stored = (await house.session.scalars(select(ModelMetric).order_by(ModelMetric.split))).all()
        assert [
            (metric.model_version_id, metric.name, metric.value, metric.split, metric.step) for metric in stored
        ] == [
            (version_id, "accuracy", 0.75, "test", None),
            (version_id, "accuracy", 1.0, "train", 3),
        ]

    async def test_declares_its_sources(self, house: House) -> None:
        base = await house.version(await house.model("base"))
        data = await house.dataset_version(await house.dataset())
        version_id = await house.version(await house.model(), sources=[trained_on(data), fine_tuned_from(base)])
        edges = (await house.session.scalars(select(LineageEdge).order_by(LineageEdge.kind))).all()
        assert [(edge.kind, edge.from_id, edge.to_kind, edge.to_id, edge.basis, edge.job_id) for edge in edges] == [
            ("FINE_TUNED_FROM", version_id, "MODEL_VERSION", base, "DECLARED", None),
            ("TRAINED_ON", version_id, "DATASET_VERSION", data, "DECLARED", None),
        ]

    async def test_is_recorded(self, house: House) -> None:
        model_id = await house.model()
        version_id = await house.version(model_id, by="carl")
        (event,) = await house.events("registry:model:add-version")
        assert (event.resource_types, event.resource_ids) == (["ModelVersion", "Model"], [version_id, model_id])
        assert (event.actor_id, event.after) == (house.people["carl"], {"files": 1, "sources": []})

    async def test_names_every_wrong_source(self, house: House) -> None:
        hidden = await house.dataset("hidden", team="quality", visibility=Visibility.TEAM)
        unfinished = await house.dataset_version(await house.dataset("unfinished"), ready=False)
        data = await house.dataset_version(await house.dataset("fine"))
        sources = [
            trained_on(await house.dataset_version(hidden)),
            trained_on(new_id()),
            trained_on(unfinished),
            Edge(EdgeKind.FINE_TUNED_FROM, LineageSource(NodeKind.DATASET_VERSION, data)),
            trained_on(data),
        ]
        model_id = await house.model()
        with pytest.raises(InvalidInput) as refusal:
            await house.version(model_id, sources=sources)
        assert [(problem.code, problem.field) for problem in refusal.value.problems] == [
            ("NOT_FOUND", "sources[0].nodeId"),
            ("NOT_FOUND", "sources[1].nodeId"),
            ("SOURCE_UNFINISHED", "sources[2].nodeId"),
            ("WRONG_KIND", "sources[3].kind"),
        ]
        assert (await house.count(ModelVersion), await house.count(LineageEdge)) == (0, 0)

    async def test_a_package_is_a_source(self, house: House) -> None:
        package = await house.package()
        hidden = await house.package(team="quality")
        model_id = await house.model()
        edges = [Edge(EdgeKind.BUILT_FROM, LineageSource(NodeKind.PACKAGE, key)) for key in (package, hidden)]
        with pytest.raises(InvalidInput) as refusal:
            await house.version(model_id, sources=edges)
        assert [(problem.code, problem.field) for problem in refusal.value.problems] == [
            ("NOT_FOUND", "sources[1].nodeId")
        ]
        await house.version(model_id, sources=edges[:1])
        edge = (await house.session.scalars(select(LineageEdge))).one()
        assert (edge.kind, edge.to_kind, edge.to_id) == ("BUILT_FROM", "PACKAGE", package)

    async def test_more_sources_than_a_version_has(self, house: House) -> None:
        model_id = await house.model()
        with pytest.raises(TooManySources) as refusal:
            await house.version(model_id, sources=[trained_on(new_id()) for _ in range(101)])
        assert (refusal.value.field, await house.count(ModelVersion)) == ("sources", 0)

    async def test_a_job_cannot_be_declared(self, house: House) -> None:
        sources = [Edge(EdgeKind.PRODUCED_BY, LineageSource(NodeKind.JOB, new_id()))]
        model_id = await house.model()
        with pytest.raises(InvalidInput):
            await house.version(model_id, sources=sources)
        assert await house.count(ModelVersion) == 0

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"metrics": [Metric(name="loss", value=float("nan"))]}, "metrics[0]"),
            ({"metrics": [Metric(name=" ", value=1.0)]}, "metrics[0]"),
            ({"metrics": [Metric(name="loss", value=1.0, step=-1)]}, "metrics[0]"),
            ({"metrics": [Metric(name=f"m{number}", value=1.0) for number in range(501)]}, "metrics"),
            ({"parameters": {"rate": float("inf")}}, "parameters"),
            ({"parameters": {"text": "x" * 70_000}}, "parameters"),
            ({"parameters": {"nul": "\0"}}, "parameters"),
            ({"parameters": [1]}, "parameters"),
        ],
    )
    async def test_reports_that_do_not_fit(self, house: House, given: dict[str, object], field: str) -> None:
        model_id = await house.model()
        with pytest.raises(GuildhallError) as refusal:
            await house.version(model_id, **given)  # type: ignore[arg-type]  # one of them is wrong on purpose
        assert (refusal.value.field, await house.count(ModelVersion)) == (field, 0)

    @pytest.mark.parametrize(
        ("who", "error"), [("vera", PermissionRefused), ("quinn", PermissionRefused), ("omar", NotFound)]
    )
    async def test_refused(self, house: House, who: str, error: type[GuildhallError]) -> None:
        model_id = await house.model()
        with pytest.raises(error):
            await house.version(model_id, by=who)
        model = (await house.session.scalars(select(Model))).one()
        assert (await house.count(ModelVersion), await house.count(Artifact), model.versions_made) == (0, 0, 0)

    async def test_a_hidden_model_is_not_there(self, house: House) -> None:
        model_id = await house.model(visibility=Visibility.TEAM)
        with pytest.raises(NotFound) as refusal:
            await house.version(model_id, by="quinn")
        assert refusal.value.field == "modelId"


class TestFinishVersion:
    async def test_a_draft_becomes_ready(self, house: House) -> None:
        version = await house.facts(await house.version(await house.model()))
        assert (version.status, version.ready_at) == ("READY", house.at)

    async def test_what_was_given_up_stays_so(self, house: House) -> None:
        version_id = await house.version(await house.model(), ready=False)
        await house.change(ModelVersion, version_id, status="ABANDONED", status_code="ABANDONED", status_message="x")
        await finish_version(house.session, house.actor("anna"), version_id, at=house.at, new_id=new_id)
        assert (await house.facts(version_id)).status == "ABANDONED"
