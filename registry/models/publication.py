"""Publishing a version, taking that back, and giving a version up."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.errors import Conflict, Problem
from registry.cards.writing import CARD_INCOMPLETE, read_missing
from registry.models.lookup import FoundVersion, find_version, lock_version
from registry.models.tables import Alias, ModelVersion, ModelVersionStatus
from registry.texts import require_text

PUBLISH = "registry:model:publish"
REASON_CHARACTERS_MAX = 2_000
_FIELD = "modelVersionId"


class UploadsIncomplete(Conflict):
    """The version is a DRAFT: files that were announced are not there."""

    code = "UPLOADS_INCOMPLETE"


class VersionAbandoned(Conflict):
    """The version has been given up."""

    code = "VERSION_ABANDONED"


class NotPublished(Conflict):
    """The version is not published."""

    code = "NOT_PUBLISHED"


class VersionPublished(Conflict):
    """The version is published; its publication has to be withdrawn first."""

    code = "VERSION_PUBLISHED"


class AliasInUse(Conflict):
    """An alias points at the version; it has to be moved first."""

    code = "ALIAS_IN_USE"


@dataclass(frozen=True)
class PublicationResult:
    """The version, and what blocks it: nothing (it is published), or one problem for each thing to mend."""

    model_version_id: UUID
    problems: tuple[Problem, ...]


async def publish_model_version(
    session: WriteSession, actor: Actor, *, model_version_id: UUID, at: datetime, new_id: IdSource
) -> PublicationResult:
    """Publish the version, or leave it BLOCKED with the reason and name each missing section of its card.

    A refusal is stored, so the problems are returned, not raised. Publishing again what is published changes nothing.
    """
    version = await _find_and_lock(session, actor, model_version_id)
    row = version.row
    if row.status == ModelVersionStatus.PUBLISHED:
        return PublicationResult(model_version_id, ())
    if row.status == ModelVersionStatus.DRAFT:
        raise UploadsIncomplete("Files of this version are still missing; complete its uploads first.", field=_FIELD)
    if row.status == ModelVersionStatus.ABANDONED:
        raise VersionAbandoned("This version has been abandoned and cannot be published.", field=_FIELD)
    before = _state(row)
    problems = tuple(
        Problem("CARD_SECTION_MISSING", f"The card lacks the section “{name}”.", f"card.sections[{name}]")
        for name in await read_missing(session, model_version_id)
    )
    if problems:
        missing = ", ".join(problem.field.removeprefix("card.sections[")[:-1] for problem in problems if problem.field)
        row.status = ModelVersionStatus.BLOCKED
        row.status_code = CARD_INCOMPLETE
        row.status_message = f"The card lacks what a model of risk tier {version.model.risk_tier} needs: {missing}."
    else:
        row.status = ModelVersionStatus.PUBLISHED
        row.status_code = row.status_message = None
        row.published_at = at
    await _store(session, actor, version, before=before, at=at, new_id=new_id)
    return PublicationResult(model_version_id, problems)


async def withdraw_publication(
    session: WriteSession, actor: Actor, *, model_version_id: UUID, reason: str, at: datetime, new_id: IdSource
) -> UUID:
    """Take a publication back: the version is READY again, its adoptions stay. Refused while an alias points at it."""
    why = require_text(reason, "reason", characters_max=REASON_CHARACTERS_MAX)
    version = await _find_and_lock(session, actor, model_version_id)
    row = version.row
    if row.status != ModelVersionStatus.PUBLISHED:
        raise NotPublished("This version is not published.", field=_FIELD)
    await _require_no_alias(session, row)
    before = _state(row)
    row.status = ModelVersionStatus.READY
    row.status_code = "WITHDRAWN"
    row.status_message = why
    row.published_at = None
    await _store(session, actor, version, before=before, at=at, new_id=new_id)
    return model_version_id


async def abandon_model_version(
    session: WriteSession, actor: Actor, *, model_version_id: UUID, reason: str, at: datetime, new_id: IdSource
) -> UUID:
    """Give a version up, with the reason; what was learned from it stays. Refused while published or aliased."""
    why = require_text(reason, "reason", characters_max=REASON_CHARACTERS_MAX)
    version = await _find_and_lock(session, actor, model_version_id)
    row = version.row
    if row.status == ModelVersionStatus.PUBLISHED:
        raise VersionPublished("Withdraw the publication before abandoning the version.", field=_FIELD)
    if row.status == ModelVersionStatus.ABANDONED:
        raise VersionAbandoned("This version has been abandoned already.", field=_FIELD)
    await _require_no_alias(session, row)
    before = _state(row)
    row.status = ModelVersionStatus.ABANDONED
    row.status_code = "ABANDONED"
    row.status_message = why
    await _store(session, actor, version, before=before, at=at, new_id=new_id)
    return model_version_id


async def _find_and_lock(session: WriteSession, actor: Actor, version_id: UUID) -> FoundVersion:
    version = await find_version(session, actor, version_id, field=_FIELD)
    require(actor, PUBLISH, team_id=version.model.team_id, resource=version.resources[0])
    return FoundVersion(await lock_version(session, version), version.model)


async def _require_no_alias(session: WriteSession, row: ModelVersion) -> None:
    """Whoever sets an alias holds the version's row in share, so that none appears behind this look."""
    names = (
        await session.scalars(select(Alias.name).where(Alias.model_version_id == row.id).order_by(Alias.name))
    ).all()
    if names:
        raise AliasInUse(f"Move what points at this version first: {', '.join(names)}.", field=_FIELD)


def _state(row: ModelVersion) -> dict[str, str | None]:
    return {"status": row.status, "code": row.status_code}


async def _store(
    session: WriteSession,
    actor: Actor,
    version: FoundVersion,
    *,
    before: dict[str, str | None],
    at: datetime,
    new_id: IdSource,
) -> None:
    await session.flush()
    await record(
        session,
        actor,
        action=PUBLISH,
        team_id=version.model.team_id,
        resources=version.resources,
        before=before,
        after=_state(version.row),
        at=at,
        new_id=new_id,
    )
