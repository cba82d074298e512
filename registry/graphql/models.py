"""Models, their versions and aliases, as they are read."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, case, exists, func, join, select

from guildhall.auth.actor import Actor
from guildhall.auth.tables import Team
from guildhall.graphql.declare import (
    column,
    connection,
    embedded,
    extend,
    find,
    json_object,
    many,
    node,
    object_type,
    one,
)
from guildhall.graphql.filters import filters, matches, matching
from guildhall.graphql.recording import Recorded
from guildhall.graphql.scalars import JSON
from guildhall.graphql.sources import Clauses, Orders
from registry.adoption.tables import Adoption
from registry.artifacts.tables import Artifact, OwnerKind
from registry.cards.tables import DataNeed
from registry.datasets.tables import CLOSED, Classification, Visibility
from registry.lessons.tables import Lesson
from registry.models.lookup import DISCOVER, visible_model_versions, visible_models
from registry.models.reported import METRICS_MAX
from registry.models.tables import Alias, AliasChange, Model, ModelMetric, ModelVersion, ModelVersionStatus, RiskTier

CHAMPION = "champion"
ALIASES_MAX = 100


def visible_aliases(actor: Actor) -> ColumnElement[bool]:
    """Aliases exist where their models do."""
    return exists().where(Model.id == Alias.model_id, visible_models(actor))


def relied_on_version() -> ColumnElement[Any]:
    """SQL over a `models` row: the version that a reuser would take: the champion, else the latest published one."""
    champion = select(Alias.model_version_id).where(Alias.model_id == Model.id, Alias.name == CHAMPION)
    published = (
        select(ModelVersion.id)
        .where(ModelVersion.model_id == Model.id, ModelVersion.status == ModelVersionStatus.PUBLISHED)
        .order_by(ModelVersion.number.desc())
        .limit(1)
    )
    found = (each.correlate(Model.__table__).scalar_subquery() for each in (champion, published))
    return func.coalesce(*found)


@object_type("DataFeature")
class DataFeatureType:
    """One column that a reuser's data must have, or may."""

    name: str
    type_: str = column("type")
    unit: str | None
    required: bool


@object_type("Metric", table=ModelMetric)
class MetricType:
    """A number that a run or a person reported about a version."""

    name: str = column(ModelMetric.name)
    value: float = column(ModelMetric.value)
    split: str | None = column(ModelMetric.split, description="The rows that it was measured on.")
    step: int | None = column(ModelMetric.step)


@object_type("Restrictions", table=ModelVersion)
class RestrictionsType:
    """What a version inherits from every data set that it was made from, over any depth."""

    classification: Classification = column(ModelVersion.effective_classification)
    permitted_purposes: list[str] | None = column(
        ModelVersion.effective_permitted_purposes, description="Null: no data set restricts them. Empty: none is left."
    )
    regions: list[str] | None = column(
        ModelVersion.effective_regions, description="Null: no data set restricts them. Empty: none is left."
    )
    retention_ends_on: date | None = column(ModelVersion.effective_retention_ends_on)


VERSION_ORDERS = Orders("ModelVersion", {"CREATED_AT": ModelVersion.created_at, "NUMBER": ModelVersion.number})
_REASON = func.jsonb_build_object("code", ModelVersion.status_code, "message", ModelVersion.status_message)


@filters("ModelVersionFilter")
class ModelVersionFilter:
    """Which versions."""

    status: ModelVersionStatus = matches(ModelVersion.status)
    created_at: datetime = matches(ModelVersion.created_at)


@node(
    "ModelVersion",
    table=ModelVersion,
    visible=visible_model_versions,
    permission=DISCOVER,
    team=select(Model.team_id)
    .where(Model.id == ModelVersion.model_id)
    .correlate(ModelVersion.__table__)
    .scalar_subquery(),
    recorded=Recorded(
        ModelVersion.effective_classification.in_(CLOSED),
        [("ModelVersion", ModelVersion.id), ("Model", ModelVersion.model_id)],
    ),
)
class ModelVersionType:
    """One set of files of a model, with what is known about it."""

    model = one("Model", local=ModelVersion.model_id, nullable=False)
    number: int = column(ModelVersion.number)
    status: ModelVersionStatus = column(ModelVersion.status)
    status_reason = json_object("Reason", case((ModelVersion.status_code.is_not(None), _REASON)))
    parameters: JSON = column(ModelVersion.parameters)
    metrics = many(
        "Metric",
        local=ModelVersion.id,
        remote=ModelMetric.model_version_id,
        order_by=[ModelMetric.id],
        maximum=METRICS_MAX,
    )
    card = embedded("Card")
    restrictions = embedded("Restrictions")
    artifacts = connection(
        "Artifact",
        local=ModelVersion.id,
        remote=Artifact.owner_id,
        where=[Artifact.owner_kind == OwnerKind.MODEL_VERSION],
        default_order=[Artifact.path],
    )
    lessons = connection(
        "Lesson", local=ModelVersion.id, remote=Lesson.subject_id, default_order=[Lesson.created_at.desc()]
    )
    aliases = many("Alias", local=ModelVersion.id, remote=Alias.model_version_id, order_by=[Alias.name])
    created_by = one("User", local=ModelVersion.created_by, description="Null where a program made it.")
    created_at: datetime = column(ModelVersion.created_at)
    ready_at: datetime | None = column(ModelVersion.ready_at, description="When its files were complete.")
    published_at: datetime | None = column(ModelVersion.published_at)


@object_type("AliasChange", table=AliasChange)
class AliasChangeType:
    """One move of an alias."""

    from_version = one("ModelVersion", local=AliasChange.from_version_id, description="Null: it was new.")
    to_version = one("ModelVersion", local=AliasChange.to_version_id, nullable=False)
    protected: bool = column(AliasChange.protected)
    reason: str = column(AliasChange.reason)
    changed_by = one("User", local=AliasChange.changed_by)
    changed_at: datetime = column(AliasChange.changed_at)


@node(
    "Alias",
    table=Alias,
    visible=visible_aliases,
    permission=DISCOVER,
    team=select(Model.team_id).where(Model.id == Alias.model_id).correlate(Alias.__table__).scalar_subquery(),
)
class AliasType:
    """A name that moves between the versions of a model."""

    name: str = column(Alias.name)
    model = one("Model", local=Alias.model_id, nullable=False)
    version = one("ModelVersion", local=Alias.model_version_id, nullable=False)
    protected: bool = column(Alias.protected, description="Moving it takes a maintainer.")
    created_at: datetime = column(Alias.created_at)
    changes = connection(
        "AliasChange", local=Alias.id, remote=AliasChange.alias_id, default_order=[AliasChange.changed_at.desc()]
    )


@node("Model", table=Model, visible=visible_models, permission=DISCOVER, team=Model.team_id)
class ModelType:
    """What a team offers under one name."""

    team = one("Team", local=Model.team_id, nullable=False)
    name: str = column(Model.name, description="Unique in its team; a slug.")
    task: str = column(Model.task)
    description: str = column(Model.description)
    visibility: Visibility = column(Model.visibility)
    risk_tier: RiskTier = column(Model.risk_tier)
    tags: list[str] = column(Model.tags)
    created_by = one("User", local=Model.created_by, description="Null where a program made it.")
    created_at: datetime = column(Model.created_at)
    data_needs = one(
        "DataNeeds",
        local=relied_on_version(),
        remote=DataNeed.model_version_id,
        description="What data a reuser of the champion must bring, or of the latest published version without one.",
    )
    aliases = many("Alias", local=Model.id, remote=Alias.model_id, order_by=[Alias.name], maximum=ALIASES_MAX)
    versions = connection(
        "ModelVersion",
        local=Model.id,
        remote=ModelVersion.model_id,
        filter=ModelVersionFilter,
        orders=VERSION_ORDERS,
        default_order=[ModelVersion.number.desc()],
    )
    lessons = connection(
        "Lesson",
        local=Model.id,
        remote=Lesson.model_id,
        default_order=[Lesson.created_at.desc()],
        description="What was learned from its versions, and from jobs that aimed at it.",
    )
    adoptions = connection(
        "Adoption",
        local=Model.id,
        remote=Adoption.model_id,
        where=[Adoption.ended_at.is_(None)],
        default_order=[Adoption.since.desc()],
        description="Which teams rely on it now.",
    )


@filters("ModelFilter")
class ModelFilter:
    """Which models."""

    team: str = matches(Team.name, via=lambda clause: Model.team_id.in_(select(Team.id).where(clause)))
    name: str = matches(Model.name)
    task: str = matches(Model.task)
    risk_tier: RiskTier = matches(Model.risk_tier)
    visibility: Visibility = matches(Model.visibility)
    created_at: datetime = matches(Model.created_at)
    status: ModelVersionStatus = matches(
        ModelVersion.status,
        via=lambda clause: exists().where(ModelVersion.model_id == Model.id, clause),
        description="Models with a version of that status.",
    )
    adopted_by: str = matches(
        Team.name,
        via=lambda clause: (
            exists()
            .select_from(join(Adoption, Team, Adoption.team_id == Team.id))
            .where(Adoption.model_id == Model.id, Adoption.ended_at.is_(None), clause)
        ),
        description="Models that a team relies on.",
    )
    tag: str = matching(lambda value, _context: Model.tags.contains([value.lower()]))


MODEL_ORDERS = Orders("Model", {"CREATED_AT": Model.created_at, "NAME": Model.name})


@extend("Query", permission=DISCOVER)
class ModelQueries:
    """Models that the caller may discover."""

    models = connection("Model", filter=ModelFilter, orders=MODEL_ORDERS, default_order=[Model.created_at.desc()])

    @find("Model", permission=DISCOVER)
    def model(team: str, name: str) -> Clauses:
        """A model by its team and name."""
        return [Model.name == name, Model.team_id == select(Team.id).where(Team.name == team).scalar_subquery()]


@extend("Team")
class TeamModels:
    """What a team offers and relies on."""

    models = connection(
        "Model",
        local=Team.id,
        remote=Model.team_id,
        filter=ModelFilter,
        orders=MODEL_ORDERS,
        default_order=[Model.created_at.desc()],
    )
    adoptions = connection(
        "Adoption",
        local=Team.id,
        remote=Adoption.team_id,
        where=[Adoption.ended_at.is_(None)],
        default_order=[Adoption.since.desc()],
        description="The models that the team relies on now.",
    )


TYPES = [
    DataFeatureType,
    MetricType,
    RestrictionsType,
    ModelVersionType,
    AliasChangeType,
    AliasType,
    ModelType,
    ModelQueries,
    TeamModels,
]
