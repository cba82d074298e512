"""The sections of a card: their names, and which of them a publication needs by the model's risk tier."""

from typing import Any

from sqlalchemy import ColumnElement, Double, String, case, cast, exists, func, select
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, array

from registry.cards.tables import CardSection, DataNeed
from registry.models.tables import Model, ModelVersion, RiskTier

INTENDED_USE = "Intended use"
LIMITATIONS = "Limitations"
TRAINING_DATA = "Training data"
PROCEDURE = "Procedure"
METRICS = "Metrics"
PARAMETERS = "Parameters"
ENVIRONMENT = "Environment"
EVALUATION = "Evaluation"
ETHICAL_CONSIDERATIONS = "Ethical considerations"
HUMAN_OVERSIGHT = "Human oversight"
DATA_NEEDS = "Data needs"
"""Not a section of text: fulfilled by the version's data needs."""

KNOWN_SECTIONS = (
    INTENDED_USE,
    LIMITATIONS,
    TRAINING_DATA,
    PROCEDURE,
    METRICS,
    PARAMETERS,
    ENVIRONMENT,
    EVALUATION,
    ETHICAL_CONSIDERATIONS,
    HUMAN_OVERSIGHT,
)
"""In the order in which a card shows them; sections of other names follow."""

_LOW = (INTENDED_USE, TRAINING_DATA, METRICS)
_LIMITED = (INTENDED_USE, LIMITATIONS, TRAINING_DATA, PROCEDURE, METRICS, DATA_NEEDS)
_HIGH = (*_LIMITED, EVALUATION, ETHICAL_CONSIDERATIONS, HUMAN_OVERSIGHT)
REQUIRED_SECTIONS = {RiskTier.LOW: _LOW, RiskTier.LIMITED: _LIMITED, RiskTier.HIGH: _HIGH}
"""What must be there before publication. A run fills in training data, procedure, metrics, parameters, environment."""

_KNOWN = {name.casefold(): name for name in KNOWN_SECTIONS}
_POSITIONS = {name: position for position, name in enumerate(KNOWN_SECTIONS)}


def canonical_name(name: str) -> str:
    """The known section that is meant, whatever its case; another name stays as it is, its spacing made plain."""
    plain = " ".join(name.replace("_", " ").split())
    return _KNOWN.get(plain.casefold(), plain)


def section_position(name: str) -> int:
    """Where a section stands among the others."""
    return _POSITIONS.get(name, len(KNOWN_SECTIONS))


def required_sections() -> ColumnElement[list[str]]:
    """SQL: the names that the risk tier of the `models` row asks for, in order."""
    return case(
        *((Model.risk_tier == tier, array(names, type_=String)) for tier, names in REQUIRED_SECTIONS.items()),
        else_=array([], type_=String),
    )


def missing_sections() -> ColumnElement[list[str]]:
    """SQL over a `model_versions` row: the required names that its card lacks, in the order of the requirement."""
    required = func.unnest(required_sections()).table_valued("name", with_ordinality="place").render_derived()
    # Said outright, because the expression also stands in lateral subqueries, where nothing is correlated by itself.
    version = ModelVersion.__table__
    written = exists().where(CardSection.model_version_id == ModelVersion.id, CardSection.name == required.c.name)
    needs = exists().where(DataNeed.model_version_id == ModelVersion.id)
    missing = (
        select(func.array_agg(aggregate_order_by(required.c.name, required.c.place)))
        .select_from(Model)
        .join(required, Model.id == ModelVersion.model_id)
        .where(
            ~written.correlate(version, required),
            ~((required.c.name == DATA_NEEDS) & needs.correlate(version)),
        )
        .correlate(version)
        .scalar_subquery()
    )
    return func.coalesce(missing, array([], type_=String), type_=ARRAY(String))


def completeness() -> ColumnElement[Any]:
    """SQL over a `model_versions` row: the share of the required sections that is there, from 0 to 1."""
    asked = (
        select(func.cardinality(required_sections()))
        .where(Model.id == ModelVersion.model_id)
        .correlate(ModelVersion.__table__)
        .scalar_subquery()
    )
    return 1 - cast(func.cardinality(missing_sections()), Double) / asked
