"""Asking that a model version inherits less: by its team, justified, of the stewards of what restricts it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import User
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, Invalid
from guildhall.slugs import require_slug
from registry.access.needs import NobodyCanDecide
from registry.access.requests import JUSTIFICATION_CHARACTERS_MAX, PersonRequired
from registry.datasets.legal import REGIONS_MAX
from registry.datasets.lookup import visible_datasets
from registry.datasets.tables import Classification, Dataset, DatasetSteward
from registry.lineage.restrictions import hold_sources
from registry.loosening.imposing import Imposing, Wanted, imposing_sources, loosened_around
from registry.loosening.tables import Loosening, LooseningSource, LooseningState, RestrictedProperty
from registry.loosening.telling import tell_loosening_asked
from registry.models.lookup import find_version, lock_version
from registry.models.tables import ModelVersionStatus
from registry.purposes.lookup import require_purposes
from registry.texts import require_text

LOOSEN = "registry:restriction:loosen"
SOURCES_MAX = 200
LOOSENED_AROUND_MAX = 10
"""Other loosened versions up- and downstream: what is read of lineage grows twofold with each."""
_UNFINISHED = (ModelVersionStatus.DRAFT, ModelVersionStatus.ABANDONED)


class InvalidLoosening(Invalid):
    """What is asked for is no loosening."""

    code = "INVALID_LOOSENING"


class AlreadyAsked(Conflict):
    """A loosening of the same property waits for its stewards."""

    code = "ALREADY_REQUESTED"


class VersionUnfinished(Conflict):
    """The stewards decide about a version whose files and sources are settled."""

    code = "VERSION_UNFINISHED"


async def ask_loosening(
    session: WriteSession,
    actor: Actor,
    *,
    model_version_id: UUID,
    wanted: Wanted,
    justification: str,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Write down what is wanted and the sources that stand in its way, as they are now; returns the id.

    Raises NotFound, PermissionRefused, PersonRequired, VersionUnfinished, InvalidLoosening, AlreadyAsked,
    NobodyCanDecide, UnknownPurpose.
    """
    found = await find_version(session, actor, model_version_id, field="modelVersionId")
    require(actor, LOOSEN, team_id=found.model.team_id, resource=found.resources[0])
    if actor.kind is not ActorKind.USER:
        raise PersonRequired("Only a person can ask for a loosening: somebody has to answer for it.")
    text = require_text(justification, "justification", characters_max=JUSTIFICATION_CHARACTERS_MAX)
    given = await _require_sense(session, wanted)
    await hold_sources(session, model_version_id)
    version = await lock_version(session, found)
    if version.status in _UNFINISHED:
        message = f"This version is {version.status}: a loosening is about one whose files and sources are settled."
        raise VersionUnfinished(message, field="modelVersionId")
    await _require_not_asked(session, model_version_id, given)
    sources = await imposing_sources(session, model_version_id, given)
    if not sources:
        raise InvalidLoosening("Nothing that this version was made from stands in the way of that.", field="to")
    if len(sources) > SOURCES_MAX:
        message = f"Too many versions of data sets stand in the way: at most {SOURCES_MAX} are decided together."
        raise InvalidLoosening(message, field="to")
    await _require_few_around(session, model_version_id)
    await _require_somebody_decides(session, actor, sources)
    loosening = Loosening(
        id=new_id(),
        model_version_id=model_version_id,
        property=given.property,
        classification=given.classification,
        permitted_purposes=list(given.permitted_purposes) or None,
        regions=list(given.regions) or None,
        retention_ends_on=given.retention_ends_on,
        justification=text,
        requester_id=actor.id,
        state=LooseningState.PENDING,
        created_at=at,
    )
    session.add(loosening)
    await session.flush()
    rows = [{"loosening_id": loosening.id, **vars(source)} for source in sources]
    await session.execute(insert(LooseningSource), rows)
    dataset_ids = sorted({source.dataset_id for source in sources})
    await record(
        session,
        actor,
        action=LOOSEN,
        team_id=found.model.team_id,
        resources=[*found.resources, *(ResourceRef("Dataset", each) for each in dataset_ids)],
        justification=text,
        after={"looseningId": loosening.id, **as_json(given)},
        at=at,
        new_id=new_id,
    )
    await tell_loosening_asked(session, actor, loosening, dataset_ids, at=at, new_id=new_id)
    return loosening.id


def as_json(wanted: Wanted | Loosening) -> dict[str, object]:
    """What is to be, as the audit record keeps it."""
    values = {
        RestrictedProperty.CLASSIFICATION: wanted.classification,
        RestrictedProperty.PERMITTED_PURPOSES: wanted.permitted_purposes,
        RestrictedProperty.REGIONS: wanted.regions,
        RestrictedProperty.RETENTION: wanted.retention_ends_on,
    }
    return {"property": wanted.property, "to": values[RestrictedProperty(wanted.property)]}


async def _require_sense(session: ReadSession, wanted: Wanted) -> Wanted:
    """The same, with purposes and regions as they are known, each once and in order."""
    if wanted.classification is Classification.RESTRICTED:
        raise InvalidLoosening("Nothing is stricter than RESTRICTED, so that is no loosening.", field="to")
    if wanted.property is RestrictedProperty.PERMITTED_PURPOSES:
        purposes = await require_purposes(session, wanted.permitted_purposes, field="to.permittedPurposes")
        if not purposes:
            raise InvalidLoosening("Name at least one purpose to be permitted as well.", field="to.permittedPurposes")
        return replace(wanted, permitted_purposes=tuple(purposes))
    if wanted.property is RestrictedProperty.REGIONS:
        if not 1 <= len(wanted.regions) <= REGIONS_MAX:
            raise InvalidLoosening(f"Name 1 to {REGIONS_MAX} regions to be allowed as well.", field="to.regions")
        slugs = {require_slug(region.lower(), f"to.regions[{number}]") for number, region in enumerate(wanted.regions)}
        return replace(wanted, regions=tuple(sorted(slugs)))
    return wanted


async def _require_not_asked(session: ReadSession, model_version_id: UUID, wanted: Wanted) -> None:
    same = select(Loosening.id).where(
        Loosening.model_version_id == model_version_id,
        Loosening.property == wanted.property,
        Loosening.state == LooseningState.PENDING,
    )
    if await session.scalar(same) is not None:
        message = f"A loosening of the {wanted.property.lower().replace('_', ' ')} waits for the stewards already."
        raise AlreadyAsked(message, field="to")


async def _require_few_around(session: ReadSession, model_version_id: UUID) -> None:
    """The sources upstream are held, so nobody else asks about a version around this one meanwhile."""
    if await loosened_around(session, model_version_id) >= LOOSENED_AROUND_MAX:
        raise InvalidLoosening(
            f"At most {LOOSENED_AROUND_MAX} other versions up- and downstream of one are loosened. "
            "Withdraw a loosening around it that is no longer needed.",
            field="modelVersionId",
        )


async def _require_somebody_decides(session: ReadSession, actor: Actor, sources: Sequence[Imposing]) -> None:
    """Each data set needs as many stewards besides the requester as have to approve; names those they may see."""
    needed = {source.dataset_id: source.stewards_needed for source in sources}
    statement = (
        select(Dataset.id, Dataset.name, func.count(User.id), visible_datasets(actor))
        .outerjoin(DatasetSteward, DatasetSteward.dataset_id == Dataset.id)
        .outerjoin(User, (User.id == DatasetSteward.user_id) & User.deactivated_at.is_(None) & (User.id != actor.id))
        .where(Dataset.id.in_(sorted(needed)))
        .group_by(Dataset.id)
        .order_by(Dataset.name, Dataset.id)
    )
    rows = [row for row in await session.execute(statement) if row[2] < needed[row[0]]]
    short = [f"{name} needs {needed[key]}" for key, name, _, there in rows if there]
    hidden = [needed[key] for key, _, _, there in rows if not there]
    if hidden:
        short.append(f"data that is not there for you needs {max(hidden)}")
    if short:
        raise NobodyCanDecide(
            f"Too few stewards besides you could decide: {', '.join(short)}. "
            "Ask an administrator to name a further steward.",
            field="to",
        )
