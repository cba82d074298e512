"""The parts of a card that a run fills in by itself: its data, procedure, metrics, parameters and environment."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select

from guildhall.auth.tables import Team
from guildhall.db.transaction import ReadSession
from registry.artifacts.tables import Package
from registry.cards import sections as names
from registry.cards.writing import BODY_CHARACTERS_MAX, SECTIONS_MAX, Section
from registry.datasets.tables import Dataset, DatasetVersion
from registry.lineage.edges import LineageSource
from registry.lineage.tables import NodeKind
from registry.models.reported import Metric
from registry.models.tables import Model, ModelVersion

_LINES_MAX = 200
_CELL_CHARACTERS_MAX = 200


async def compose_run_sections(
    session: ReadSession,
    *,
    inputs: Sequence[LineageSource],
    package_id: UUID | None,
    environment: Mapping[str, Any],
    metrics: Sequence[Metric],
    parameters: Mapping[str, Any],
    written: Mapping[str, str],
) -> list[Section]:
    """The sections in Markdown; what the script wrote itself (`written`) stands above what was composed of that name.

    A script is no person that one could ask to mend its texts: what is too long is cut, what is too much left out.
    """
    models = await _model_lines(session, inputs)
    composed = {
        names.TRAINING_DATA: await _dataset_lines(session, inputs),
        names.PROCEDURE: [*models, *await _package_lines(session, package_id)],
        names.METRICS: _metric_lines(metrics),
        names.PARAMETERS: _table(
            ("parameter", "value"), [(name, _shown(parameters[name])) for name in sorted(parameters)]
        ),
        names.ENVIRONMENT: _environment_lines(environment),
    }
    bodies = {name: "\n".join(lines) for name, lines in composed.items() if lines}
    for name, text in written.items():
        plain = names.canonical_name(name).replace("\0", "")[:100]
        own = text.replace("\0", "").strip()
        if plain and own:
            bodies[plain] = "\n\n".join(filter(None, [own, bodies.get(plain)]))
    return [Section(name, body[:BODY_CHARACTERS_MAX]) for name, body in list(bodies.items())[:SECTIONS_MAX]]


async def _dataset_lines(session: ReadSession, inputs: Sequence[LineageSource]) -> list[str]:
    statement = (
        select(
            Team.name, Dataset.name, DatasetVersion.number, DatasetVersion.rows, Dataset.classification, Dataset.licence
        )
        .join(Dataset, Dataset.id == DatasetVersion.dataset_id)
        .join(Team, Team.id == Dataset.team_id)
        .where(DatasetVersion.id.in_(_ids(inputs, NodeKind.DATASET_VERSION)))
        .order_by(Team.name, Dataset.name, DatasetVersion.number)
    )
    return [
        f"- {team}/{name}, version {number}: {'unknown' if rows is None else rows} rows, {classification}, {licence}"
        for team, name, number, rows, classification, licence in (await session.execute(statement))
    ]


async def _model_lines(session: ReadSession, inputs: Sequence[LineageSource]) -> list[str]:
    statement = (
        select(Team.name, Model.name, ModelVersion.number)
        .join(Model, Model.id == ModelVersion.model_id)
        .join(Team, Team.id == Model.team_id)
        .where(ModelVersion.id.in_(_ids(inputs, NodeKind.MODEL_VERSION)))
        .order_by(Team.name, Model.name, ModelVersion.number)
    )
    rows = await session.execute(statement)
    return [f"- Trained further from {team}/{name}, version {number}." for team, name, number in rows]


async def _package_lines(session: ReadSession, package_id: UUID | None) -> list[str]:
    if package_id is None:
        return []
    digest = await session.scalar(select(Package.sha256).where(Package.id == package_id))
    return [f"- Trained by the package with SHA-256 `{digest}`."]


def _metric_lines(metrics: Sequence[Metric]) -> list[str]:
    """The last value of each metric and split: a curve is in the metrics themselves."""
    last: dict[tuple[str, str], Metric] = {}
    for metric in sorted(metrics, key=lambda metric: -1 if metric.step is None else metric.step):
        last[metric.name, metric.split or ""] = metric
    return _table(
        ("metric", "split", "value"), [(name, split, f"{last[name, split].value:g}") for name, split in sorted(last)]
    )


def _environment_lines(environment: Mapping[str, Any]) -> list[str]:
    packages = environment.get("packages") or {}
    lines = [
        f"- {label}: {environment[key]}"
        for key, label in (("python", "Python"), ("platform", "platform"))
        if environment.get(key)
    ]
    return [*lines, *(f"- {name} {packages[name]}" for name in sorted(packages)[:_LINES_MAX])]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    body = [f"| {' | '.join(_cell(text) for text in row)} |" for row in rows[:_LINES_MAX]]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *body]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())[:_CELL_CHARACTERS_MAX]


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _ids(inputs: Sequence[LineageSource], kind: NodeKind) -> list[UUID]:
    return [source.id for source in inputs if source.kind == kind]
