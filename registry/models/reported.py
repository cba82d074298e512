"""What a run or a person reports about a version: metrics and parameters, bounded and storable."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.errors import Invalid, InvalidInput, Problem
from registry.models.tables import ModelMetric

METRICS_MAX = 500
NAME_CHARACTERS_MAX = 200
PARAMETERS_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number; `split` names the rows that it was measured on, `step` the moment in the training."""

    name: str
    value: float
    split: str | None = None
    step: int | None = None


def require_metrics(metrics: Sequence[Metric], *, field: str = "metrics") -> list[Metric]:
    """The metrics, each (name, split, step) once, where the last counts. Raises InvalidInput naming each wrong one."""
    if len(metrics) > METRICS_MAX:
        raise Invalid(f"{len(metrics)} metrics are more than the {METRICS_MAX} that a version keeps.", field=field)
    problems = [
        Problem("INVALID_METRIC", problem, f"{field}[{number}]")
        for number, metric in enumerate(metrics)
        if (problem := _problem(metric)) is not None
    ]
    if problems:
        raise InvalidInput(problems)
    return list({(metric.name, metric.split, metric.step): metric for metric in metrics}.values())


def fitting_metrics(metrics: Sequence[Metric]) -> list[Metric]:
    """As `require_metrics`, for a run that nobody can ask to mend its report: what does not fit is left out.

    Where there are more than a version keeps, those reported last stay.
    """
    fitting = [metric for metric in metrics if _problem(metric) is None]
    return list({(metric.name, metric.split, metric.step): metric for metric in fitting}.values())[-METRICS_MAX:]


def require_parameters(parameters: object, *, field: str = "parameters") -> dict[str, Any]:
    """The parameters as they will be stored; raises Invalid where they are no JSON object of a fitting size."""
    if parameters is None:
        return {}
    if not isinstance(parameters, Mapping):
        raise Invalid("Parameters are a JSON object of names and values.", field=field)
    try:
        encoded = json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Invalid("Parameters hold only what JSON can say: no NaN, no infinity.", field=field) from error
    if len(encoded) > PARAMETERS_BYTES_MAX:
        raise Invalid(f"Parameters of {len(encoded)} bytes are more than {PARAMETERS_BYTES_MAX}.", field=field)
    if "\\u0000" in encoded:
        raise Invalid("Parameters hold a null character, which cannot be stored.", field=field)
    return dict(parameters)


async def write_metrics(
    session: WriteSession, *, model_version_id: UUID, metrics: Sequence[Metric], new_id: IdSource
) -> None:
    """Store the metrics of a new version; they have been through `require_metrics`."""
    rows = [
        {
            "id": new_id(),
            "model_version_id": model_version_id,
            "name": metric.name,
            "value": metric.value,
            "split": metric.split,
            "step": metric.step,
        }
        for metric in metrics
    ]
    if rows:
        await session.execute(insert(ModelMetric), rows)


def _problem(metric: Metric) -> str | None:
    for text in (metric.name, metric.split or "-"):
        if not text.strip() or len(text) > NAME_CHARACTERS_MAX or "\0" in text:
            return f"A metric and its split have names of 1 to {NAME_CHARACTERS_MAX} characters."
    if not math.isfinite(metric.value):
        return f"The metric {metric.name} is not a finite number."
    if metric.step is not None and not 0 <= metric.step < 2**31:
        return f"The step of the metric {metric.name} is not a whole number from 0."
    return None
