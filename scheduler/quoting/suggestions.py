"""What else the caller may want to know before spending: an existing model, a cheaper hour, lessons learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select

from guildhall.auth.actor import Actor
from guildhall.credits import format_credits
from guildhall.db.transaction import ReadSession
from marketplace.pricing import charge
from marketplace.tariffs import Tariff
from registry.lessons.tables import Lesson
from registry.lineage.tables import EdgeKind, LineageEdge
from registry.models.lookup import visible_models
from registry.models.tables import Model, ModelVersion, ModelVersionStatus
from scheduler.jobs.spec import InputKind, JobSpec

MODELS_MAX = 3
LESSONS_MAX = 3
STARTS_PRICED_MAX = 200
HALF_HOUR = timedelta(minutes=30)


@dataclass(frozen=True)
class Suggestion:
    """One sentence and the node that it is about."""

    kind: str
    message: str
    node_kind: str
    node_id: UUID

    def to_json(self) -> dict[str, str]:
        """As a quote keeps it."""
        return {
            "kind": self.kind,
            "message": self.message,
            "nodeKind": self.node_kind,
            "nodeId": str(self.node_id),
        }


async def suggest(
    session: ReadSession,
    actor: Actor,
    *,
    spec: JobSpec,
    tariffs: Sequence[Tariff],
    start: datetime,
    at: datetime,
) -> list[Suggestion]:
    """Only what the caller may see."""
    found = [*await _models(session, actor, spec), *await _lessons(session, actor, spec)]
    cheaper = cheaper_start(tariffs, spec, start=start, at=at)
    return [*found, cheaper] if cheaper is not None else found


def cheaper_start(tariffs: Sequence[Tariff], spec: JobSpec, *, start: datetime, at: datetime) -> Suggestion | None:
    """The first cheapest half hour until the latest start, where it saves anything against the predicted one."""
    length = timedelta(seconds=spec.walltime_seconds)

    def cost(begin: datetime) -> tuple[int, Tariff]:
        return min(
            ((charge(tariff, [(begin, begin + length)], spec.slots), tariff) for tariff in tariffs),
            key=lambda priced: priced[0],
        )

    now, _ = cost(start)
    half_hour = at.replace(minute=at.minute // 30 * 30, second=0, microsecond=0) + HALF_HOUR
    starts = [half_hour + HALF_HOUR * step for step in range(STARTS_PRICED_MAX)]
    priced = [(cost(begin), begin) for begin in starts if begin <= spec.start_by]
    if not priced:
        return None
    (then, tariff), begin = min(priced, key=lambda entry: (entry[0][0], entry[1]))
    if then >= now:
        return None
    message = (
        f"A start at {begin:%Y-%m-%d %H:%M} UTC would cost {format_credits(then)} credits instead of "
        f"{format_credits(now)}."
    )
    return Suggestion("CHEAPER_START", message, "POOL", tariff.pool_id)


async def _models(session: ReadSession, actor: Actor, spec: JobSpec) -> list[Suggestion]:
    """Published models of others for the same task, or trained on the same version of a data set."""
    output_id = None if spec.output is None else spec.output.model_id
    task = None if output_id is None else await session.scalar(select(Model.task).where(Model.id == output_id))
    datasets = [each.source_id for each in spec.inputs if each.kind is InputKind.DATASET_VERSION]
    models = [each.source_id for each in spec.inputs if each.kind is InputKind.MODEL_VERSION]
    trained = select(LineageEdge.from_id).where(
        LineageEdge.kind == EdgeKind.TRAINED_ON, LineageEdge.to_id.in_(datasets)
    )
    published = ModelVersion.status == ModelVersionStatus.PUBLISHED
    statement = (
        select(Model.id, Model.name, Model.task)
        .where(visible_models(actor), Model.id != output_id if output_id is not None else Model.id.is_not(None))
        .where(
            select(ModelVersion.id)
            .where(ModelVersion.model_id == Model.id, published, ModelVersion.id.not_in(models))
            .where(or_(Model.task == task, ModelVersion.id.in_(trained)))
            .exists()
        )
        .order_by(Model.created_at.desc(), Model.id)
        .limit(MODELS_MAX)
    )
    return [
        Suggestion(
            "EXISTING_MODEL", f"The model {name} is published for {its_task}: it may do already.", "MODEL", model_id
        )
        for model_id, name, its_task in (await session.execute(statement))
    ]


async def _lessons(session: ReadSession, actor: Actor, spec: JobSpec) -> list[Suggestion]:
    """The newest lessons on the model that is to be made, and on what it is made from."""
    sources = [each.source_id for each in spec.inputs]
    about: list[ColumnElement[bool]] = [Lesson.subject_id.in_(sources)]
    if spec.output is not None:
        about.append(Lesson.model_id == spec.output.model_id)
    statement = (
        select(Lesson.id, Lesson.summary)
        .where(or_(*about))
        .where(or_(Lesson.model_id.is_(None), Lesson.model_id.in_(select(Model.id).where(visible_models(actor)))))
        .order_by(Lesson.created_at.desc(), Lesson.id)
        .limit(LESSONS_MAX)
    )
    rows = await session.execute(statement)
    return [Suggestion("LESSON", summary, "LESSON", lesson_id) for lesson_id, summary in rows]
