"""Random rows beside the story: teams, people, data sets and models of every visibility, classification and state."""

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import select

from guildhall.clock import new_id
from marketplace.tables import Quote
from registry.adoption.tables import Adoption
from registry.artifacts.tables import Artifact, ArtifactState, OwnerKind
from registry.cards.tables import CardSection, DataNeed, SectionOrigin
from registry.datasets.tables import Classification, Dataset, DatasetSteward, DatasetVersion, Visibility
from registry.lessons.tables import Lesson, LessonOutcome, SubjectKind
from registry.lineage.tables import EdgeBasis, EdgeKind, LineageEdge, NodeKind
from registry.models.tables import Alias, AliasChange, Model, ModelMetric, ModelVersion, ModelVersionStatus, RiskTier
from scheduler.clusters.tables import Pool
from tests.guildhall.graphql.oracle.strewing import WORDS, Strewing
from tests.people import make_team, make_user

TEAMS, PEOPLE, DATASETS, MODELS = 3, 4, 7, 14


class Scatter(Strewing):
    """One world's worth of random rows."""

    async def strew(self) -> None:
        """All of it; the caller commits."""
        for number in range(TEAMS):
            await make_team(self._session, f"scattered-{number}")
        for number in range(PEOPLE):
            await make_user(self._session, f"somebody-{number}")
        await self._meet()
        sources = [version for _ in range(DATASETS) for version in await self._dataset()]
        await self._quotes()
        earlier: list[UUID] = []
        for number in range(MODELS):
            earlier += await self._model(number, sources, earlier)

    async def _quotes(self) -> None:
        """The story's quotes again, with pools left out and things to think of."""
        pool, lesson = await self._session.scalar(select(Pool.id)), await self._session.scalar(select(Lesson.id))
        away = [{"poolId": str(pool), "code": "TOO_SMALL", "message": self._text()}]
        advice = [
            {"kind": "LESSON", "message": self._text(), "nodeKind": "LESSON", "nodeId": str(lesson)},
            {"kind": "CHEAPER_START", "message": self._text(), "nodeKind": None, "nodeId": None},
        ]
        key = await self._session.scalar(select(Quote.id).order_by(Quote.id))
        assert key is not None, "the story has quotes"
        for changed in ({"excluded": away, "suggestions": advice}, {"excluded": [], "suggestions": advice[1:]}):
            await self._again(Quote, key, {**changed, "job_id": None, "accepted_at": None})

    async def _dataset(self) -> list[UUID]:
        draw = self._random
        dataset = Dataset(
            id=new_id(),
            team_id=draw.choice(self._teams),
            name=f"scattered-data-{draw.randrange(10**6)}",
            description=self._text(),
            visibility=draw.choice(list(Visibility)).value,
            classification=draw.choice(list(Classification)).value,
            licence="CC0",
            legal_basis="none",
            consent=draw.choice((None, "given")),
            permitted_purposes=["defect-detection"],
            retention_ends_on=draw.choice((None, (self._at + timedelta(days=400)).date())),
            regions=["eu-local"],
            created_by=draw.choice(self._people),
            created_at=self._moment(),
        )
        await self._add(dataset)
        stewards = draw.sample(self._people, draw.randint(0, 2))
        await self._add(
            *(
                DatasetSteward(dataset_id=dataset.id, user_id=each, added_by=each, added_at=self._moment())
                for each in stewards
            )
        )
        versions = [
            DatasetVersion(
                id=new_id(),
                dataset_id=dataset.id,
                number=number,
                state="READY" if ready else "DRAFT",
                columns=draw.choice(([], [{"name": "bar", "type": "float", "unit": None, "personal": True}])),
                rows=draw.choice((None, 0, 2**40)),
                created_by=dataset.created_by,
                created_at=self._moment(),
                ready_at=self._moment() if ready else None,
            )
            for number, ready in enumerate(draw.choices((True, False), k=draw.randint(0, 3)), start=1)
        ]
        await self._add(*versions)
        for version in versions:
            await self._files(OwnerKind.DATASET_VERSION, version.id)
        return [version.id for version in versions]

    async def _model(self, number: int, sources: Sequence[UUID], earlier: Sequence[UUID]) -> list[UUID]:
        draw = self._random
        versions_made = draw.randint(0, 5)
        model = Model(
            id=new_id(),
            team_id=draw.choice(self._teams),
            name=f"scattered-{number}",
            task=draw.choice(WORDS),
            description=self._text(),
            visibility=draw.choice(list(Visibility)).value,
            risk_tier=draw.choice(list(RiskTier)).value,
            tags=draw.sample(("glare", "daß", "x y"), draw.randint(0, 2)),
            versions_made=versions_made,
            created_by=draw.choice(self._people),
            created_at=self._moment(),
        )
        await self._add(model)
        versions = [self._version(model, each) for each in range(1, versions_made + 1)]
        await self._add(*versions)
        for version in versions:
            await self._about(model, version)
            await self._lineage(version.id, sources, earlier)
        if versions:
            await self._aliases(model, versions)
            await self._adoptions(model, versions)
        return [version.id for version in versions]

    def _version(self, model: Model, number: int) -> ModelVersion:
        draw = self._random
        status = draw.choice(list(ModelVersionStatus))
        told = status in {ModelVersionStatus.BLOCKED, ModelVersionStatus.ABANDONED}
        return ModelVersion(
            id=new_id(),
            model_id=model.id,
            number=number,
            status=status.value,
            status_code="TOLD" if told else None,
            status_message=self._text() if told else None,
            parameters=draw.choice(({}, {"epochs": 3, "deep": {"list": [1, 2.5, None, "☃"]}})),
            effective_classification=draw.choice(list(Classification)).value,
            effective_permitted_purposes=draw.choice((None, [], ["defect-detection"])),
            effective_regions=draw.choice((None, [], ["eu-local"])),
            effective_retention_ends_on=draw.choice((None, self._at.date())),
            created_by=draw.choice(self._people),
            created_at=self._moment(),
            ready_at=None if status is ModelVersionStatus.DRAFT else self._moment(),
            published_at=self._moment() if status is ModelVersionStatus.PUBLISHED else None,
        )

    async def _about(self, model: Model, version: ModelVersion) -> None:
        draw = self._random
        values = (0.5, -0.0, 1e-7, 1e22, 1 / 3, 123456789.125, 5e-324)
        await self._add(
            *(
                ModelMetric(
                    id=new_id(),
                    model_version_id=version.id,
                    name=draw.choice(WORDS),
                    value=draw.choice(values),
                    split=draw.choice((None, "heldout")),
                    step=step,
                )
                for step in range(draw.randint(0, 3))
            ),
            *(
                CardSection(
                    id=new_id(),
                    model_version_id=version.id,
                    name=name,
                    body=self._text(),
                    origin=draw.choice(list(SectionOrigin)).value,
                    position=draw.randint(1, 3),
                    updated_by=draw.choice(self._people),
                    updated_at=self._moment(),
                )
                for name in draw.sample(
                    ("Intended use", "Limitations", "Training data", "Evaluation"), draw.randint(0, 4)
                )
            ),
            *(
                Lesson(
                    id=new_id(),
                    subject_kind=SubjectKind.MODEL_VERSION.value,
                    subject_id=version.id,
                    team_id=model.team_id,
                    model_id=model.id,
                    summary=self._text(),
                    body=draw.choice(("", self._text())),
                    outcome=draw.choice(list(LessonOutcome)).value,
                    dont_use_when=draw.choice((None, "it rains")),
                    tags=draw.sample(("glare", "ice"), draw.randint(0, 2)),
                    author_kind="USER",
                    author_id=draw.choice(self._people),
                    created_at=self._moment(),
                )
                for _ in range(draw.randint(0, 2))
            ),
        )
        if draw.random() < 0.5:
            features = draw.choice(([], [{"name": "bar", "type": "float", "unit": None, "required": True}]))
            need = DataNeed(
                id=new_id(),
                model_version_id=version.id,
                features=features,
                label_definition=draw.choice((None, "the digit")),
                rows_min=draw.choice((None, 2**40)),
                updated_by=draw.choice(self._people),
                updated_at=self._moment(),
            )
            await self._add(need)
        await self._files(OwnerKind.MODEL_VERSION, version.id)

    async def _files(self, kind: OwnerKind, owner_id: UUID) -> None:
        draw = self._random
        for number in range(draw.randint(0, 2)):
            stored = draw.random() < 0.7
            file = Artifact(
                id=new_id(),
                owner_kind=kind.value,
                owner_id=owner_id,
                path=f"part {number} ☃.bin",
                size_bytes=draw.choice((0, 2**33)),
                sha256=sha256(bytes(number)).hexdigest(),
                media_type="application/octet-stream",
                rows=draw.choice((None, 5)),
                state=(ArtifactState.STORED if stored else ArtifactState.PENDING).value,
                created_at=self._moment(),
                stored_at=self._moment() if stored else None,
            )
            await self._add(file)

    async def _lineage(self, version_id: UUID, sources: Sequence[UUID], earlier: Sequence[UUID]) -> None:
        draw = self._random
        edges = [
            (EdgeKind.TRAINED_ON, NodeKind.DATASET_VERSION, sources),
            (EdgeKind.FINE_TUNED_FROM, NodeKind.MODEL_VERSION, earlier),
        ]
        for kind, to_kind, candidates in edges:
            for to_id in draw.sample(list(candidates), min(len(candidates), draw.randint(0, 2))):
                edge = LineageEdge(
                    id=new_id(),
                    kind=kind.value,
                    from_kind=NodeKind.MODEL_VERSION.value,
                    from_id=version_id,
                    to_kind=to_kind.value,
                    to_id=to_id,
                    basis=EdgeBasis.DECLARED.value,
                    created_at=self._moment(),
                )
                await self._add(edge)

    async def _aliases(self, model: Model, versions: Sequence[ModelVersion]) -> None:
        draw = self._random
        for name in draw.sample(("champion", "stable", "canary"), draw.randint(0, 3)):
            version = draw.choice(versions)
            alias = Alias(
                id=new_id(),
                model_id=model.id,
                name=name,
                model_version_id=version.id,
                protected=draw.random() < 0.5,
                created_at=self._moment(),
            )
            await self._add(alias)
            changes = [
                AliasChange(
                    id=new_id(),
                    alias_id=alias.id,
                    from_version_id=draw.choice((None, draw.choice(versions).id)),
                    to_version_id=version.id,
                    protected=alias.protected,
                    reason=self._text(),
                    changed_by=draw.choice(self._people),
                    changed_at=self._moment(),
                )
                for _ in range(draw.randint(0, 3))
            ]
            await self._add(*changes)

    async def _adoptions(self, model: Model, versions: Sequence[ModelVersion]) -> None:
        draw = self._random
        for team in draw.sample(self._teams, draw.randint(0, 3)):
            since, ended = self._moment(), draw.random() < 0.3
            adoption = Adoption(
                id=new_id(),
                model_id=model.id,
                model_version_id=draw.choice(versions).id,
                team_id=team,
                purpose="defect-detection",
                adopted_by=draw.choice(self._people),
                since=since,
                ended_by=draw.choice(self._people) if ended else None,
                ended_at=since + timedelta(hours=1) if ended else None,
            )
            await self._add(adoption)
