"""Writing cards: sections by people and from runs, and the data that a reuser must bring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, Invalid, InvalidInput, Problem
from registry.cards.sections import canonical_name, missing_sections, section_position
from registry.cards.tables import CardSection, DataNeed, SectionOrigin
from registry.models.lookup import find_version, lock_version
from registry.models.tables import ModelVersion, ModelVersionStatus
from registry.texts import require_text

DESCRIBE = "registry:model:describe"
CARD_INCOMPLETE = "CARD_INCOMPLETE"
SECTIONS_MAX = 40
NAME_CHARACTERS_MAX = 100
BODY_CHARACTERS_MAX = 50_000
FEATURES_MAX = 2_000
FEATURE_CHARACTERS_MAX = 500
LABEL_CHARACTERS_MAX = 10_000


class CardClosed(Conflict):
    """The version has been abandoned."""

    code = "VERSION_ABANDONED"


class PublishedCardIncomplete(Conflict):
    """The change would take a required section from a published version."""

    code = "CARD_INCOMPLETE"


@dataclass(frozen=True)
class Section:
    """One section as written; an empty body takes the section away."""

    name: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One column that a reuser's data must (or may) have."""

    name: str
    type: str
    unit: str | None = None
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class DataNeeds:
    """What data a reuser must bring."""

    features: Sequence[Feature]
    label_definition: str | None = None
    rows_min: int | None = None


async def update_card(
    session: WriteSession,
    actor: Actor,
    *,
    model_version_id: UUID,
    sections: Sequence[Section] = (),
    data_needs: DataNeeds | None = None,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Write the named sections (others stay) and, where given, replace the data needs; returns the version's id.

    A version that was refused publication for its card alone is READY again once the card is whole.
    """
    version = await find_version(session, actor, model_version_id, field="modelVersionId")
    require(actor, DESCRIBE, team_id=version.model.team_id, resource=version.resources[0])
    row = await lock_version(session, version)
    if row.status == ModelVersionStatus.ABANDONED:
        raise CardClosed("This version has been abandoned; its card is closed.", field="modelVersionId")
    written = require_sections(sections)
    await write_sections(
        session,
        model_version_id=model_version_id,
        sections=written,
        origin=SectionOrigin.PERSON,
        written_by=actor.id,
        at=at,
        new_id=new_id,
    )
    if data_needs is not None:
        await _write_data_needs(session, model_version_id, data_needs, written_by=actor.id, at=at, new_id=new_id)
    await _follow_status(session, row)
    await record(
        session,
        actor,
        action=DESCRIBE,
        team_id=version.model.team_id,
        resources=version.resources,
        after={"sections": [section.name for section in written], "dataNeeds": data_needs is not None},
        at=at,
        new_id=new_id,
    )
    return model_version_id


async def read_missing(session: ReadSession, model_version_id: UUID) -> list[str]:
    """The sections that the version's publication still needs, by name."""
    statement = select(missing_sections()).where(ModelVersion.id == model_version_id)
    return list((await session.scalars(statement)).one())


def require_sections(sections: Sequence[Section], *, field: str = "sections") -> list[Section]:
    """The sections under their canonical names; raises InvalidInput for two of one name, or texts that do not fit."""
    if len(sections) > SECTIONS_MAX:
        raise Invalid(f"{len(sections)} sections are more than the {SECTIONS_MAX} of a card.", field=field)
    fitting: dict[str, Section] = {}
    problems = []
    for number, section in enumerate(sections):
        name = canonical_name(require_text(section.name, f"{field}[{number}].name", characters_max=NAME_CHARACTERS_MAX))
        body = require_text(
            section.body, f"{field}[{number}].body", characters_max=BODY_CHARACTERS_MAX, empty_allowed=True
        )
        if name in fitting:
            problems.append(Problem("DUPLICATE", f"The section {name} is given twice.", f"{field}[{number}].name"))
        fitting[name] = Section(name, body)
    if problems:
        raise InvalidInput(problems)
    return list(fitting.values())


async def write_sections(
    session: WriteSession,
    *,
    model_version_id: UUID,
    sections: Sequence[Section],
    origin: SectionOrigin,
    written_by: UUID,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Store canonical sections; what a person wrote, a run never replaces. At most SECTIONS_MAX stay on a card."""
    removed = [section.name for section in sections if not section.body]
    if removed:
        await session.execute(
            delete(CardSection).where(CardSection.model_version_id == model_version_id, CardSection.name.in_(removed))
        )
    rows = [
        {
            "id": new_id(),
            "model_version_id": model_version_id,
            "name": section.name,
            "body": section.body,
            "origin": origin,
            "position": section_position(section.name),
            "updated_by": written_by,
            "updated_at": at,
        }
        for section in sections
        if section.body
    ]
    if not rows:
        return
    statement = insert(CardSection).values(rows)
    statement = statement.on_conflict_do_update(
        index_elements=["model_version_id", "name"],
        set_={column: statement.excluded[column] for column in ("body", "origin", "updated_by", "updated_at")},
        where=or_(statement.excluded.origin == SectionOrigin.PERSON, CardSection.origin == SectionOrigin.RUN),
    )
    await session.execute(statement)
    names = (
        await session.scalars(select(CardSection.name).where(CardSection.model_version_id == model_version_id))
    ).all()
    if len(names) > SECTIONS_MAX:
        raise Invalid(
            f"A card has at most {SECTIONS_MAX} sections; this one would have {len(names)}.", field="sections"
        )


async def _write_data_needs(
    session: WriteSession,
    model_version_id: UUID,
    needs: DataNeeds,
    *,
    written_by: UUID,
    at: datetime,
    new_id: IdSource,
) -> None:
    values: dict[str, Any] = {
        "features": [dict(feature) for feature in _require_features(needs.features)],
        "label_definition": require_text(
            needs.label_definition,
            "dataNeeds.labelDefinition",
            characters_max=LABEL_CHARACTERS_MAX,
            empty_allowed=True,
        )
        or None,
        "rows_min": _require_rows(needs.rows_min),
        "updated_by": written_by,
        "updated_at": at,
    }
    statement = insert(DataNeed).values(id=new_id(), model_version_id=model_version_id, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["model_version_id"], set_=values))


def _require_features(features: Sequence[Feature]) -> list[Mapping[str, object]]:
    field = "dataNeeds.features"
    if len(features) > FEATURES_MAX:
        raise Invalid(f"{len(features)} features are more than {FEATURES_MAX}.", field=field)
    fitting: dict[str, Mapping[str, object]] = {}
    for number, feature in enumerate(features):
        place = f"{field}[{number}]"
        name = require_text(feature.name, f"{place}.name", characters_max=FEATURE_CHARACTERS_MAX)
        if name in fitting:
            raise Invalid(f"The feature {name} is given twice.", field=f"{place}.name")
        unit = require_text(feature.unit, f"{place}.unit", characters_max=FEATURE_CHARACTERS_MAX, empty_allowed=True)
        fitting[name] = {
            "name": name,
            "type": require_text(feature.type, f"{place}.type", characters_max=FEATURE_CHARACTERS_MAX),
            "unit": unit or None,
            "required": feature.required,
        }
    return list(fitting.values())


def _require_rows(rows_min: int | None) -> int | None:
    if rows_min is not None and not 0 <= rows_min < 2**63:
        raise Invalid("The least number of rows is a whole number from 0.", field="dataNeeds.rowsMin")
    return rows_min


async def _follow_status(session: WriteSession, row: ModelVersion) -> None:
    """Keep the status true to the changed card: a published one stays whole, a blocked one made whole is READY."""
    if row.status not in {ModelVersionStatus.PUBLISHED, ModelVersionStatus.BLOCKED}:
        return
    missing = await read_missing(session, row.id)
    if row.status == ModelVersionStatus.PUBLISHED and missing:
        raise PublishedCardIncomplete(
            f"A published version keeps what its risk tier asks for: {', '.join(missing)}.", field="sections"
        )
    if row.status == ModelVersionStatus.BLOCKED and not missing and row.status_code == CARD_INCOMPLETE:
        row.status = ModelVersionStatus.READY
        row.status_code = row.status_message = None
        await session.flush()
