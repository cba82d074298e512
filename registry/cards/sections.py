"""The sections of a card: their names, and which of them a publication needs by the model's risk tier."""

from typing import Any

from sqlalchemy import ColumnElement, Double, String, all_, case, cast, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, array

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


def missing_sections() -> ColumnElement[list[str]]:
    """SQL over a `model_versions` row: the required names that its card lacks, in the order of the requirement."""
    required, present = _required(), _present()
    missing = select(required.c.name).where(required.c.name != all_(present)).order_by(required.c.place)
    return func.array(missing.correlate(ModelVersion.__table__).scalar_subquery(), type_=ARRAY(String))


def completeness() -> ColumnElement[Any]:
    """SQL over a `model_versions` row: the share of the required sections that is there, from 0 to 1."""
    required, present = _required(), _present()
    missing = cast(func.count().filter(required.c.name != all_(present)), Double)
    share = select(1 - missing / cast(func.count(), Double)).select_from(required)
    return share.correlate(ModelVersion.__table__).scalar_subquery()


def _required() -> Any:  # noqa: ANN401 -- a table valued alias
    """SQL over a `model_versions` row: the names that the risk tier of its model asks for, and their places."""
    names = case(
        *((Model.risk_tier == tier, array(names, type_=String)) for tier, names in REQUIRED_SECTIONS.items()),
        else_=array([], type_=String),
    )
    asked = select(names).where(Model.id == ModelVersion.model_id).correlate(ModelVersion.__table__)
    return func.unnest(asked.scalar_subquery()).table_valued("name", with_ordinality="place").render_derived()


def _present() -> ColumnElement[Any]:
    """SQL over a `model_versions` row: the names of what its card has, read once for all that are required."""
    # Said outright, because the expression also stands in lateral subqueries, where nothing is correlated by itself.
    version = ModelVersion.__table__
    written = select(CardSection.name).where(CardSection.model_version_id == ModelVersion.id).correlate(version)
    needs = select(literal(DATA_NEEDS)).where(DataNeed.model_version_id == ModelVersion.id).correlate(version)
    return func.array(written.union_all(needs).scalar_subquery(), type_=ARRAY(String))
