"""Aliases: names such as "champion" that move between the versions of a model, with a reason and a history."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.errors import Conflict, Invalid
from guildhall.slugs import require_slug
from registry.models.lookup import FoundModel, find_model, find_version, share_version
from registry.models.tables import Alias, AliasChange, ModelVersionStatus
from registry.texts import require_text

ALIAS = "registry:model:alias"
PROTECT = "registry:model:protect-alias"
REASON_CHARACTERS_MAX = 2_000


class VersionOfOtherModel(Invalid):
    """The version belongs to another model than the alias."""

    code = "VERSION_OF_OTHER_MODEL"


class VersionNotUsable(Conflict):
    """An alias points only at what can be used, a protected one only at what is published."""

    code = "VERSION_NOT_USABLE"


async def set_alias(
    session: WriteSession,
    actor: Actor,
    *,
    model_id: UUID,
    name: str,
    model_version_id: UUID,
    reason: str,
    protected: bool | None = None,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Point the alias at the version, making it where it is new; returns its id. Setting it again is no change.

    `protected` None leaves the protection as it is (a new alias has none). Moving, protecting or freeing a protected
    alias takes a permission of its own.
    """
    model = await find_model(session, actor, model_id, field="modelId")
    require(actor, ALIAS, team_id=model.team_id, resource=ResourceRef("Model", model_id))
    require_slug(name, "name")
    reason = require_text(reason, "reason", characters_max=REASON_CHARACTERS_MAX)
    status = await _usable_status(session, actor, model, model_version_id)
    alias, before = await _lock_alias(
        session, model_id, name, model_version_id, protected=protected, at=at, new_id=new_id
    )
    after = (model_version_id, alias.protected if protected is None else protected)
    if alias.protected or after[1]:
        require(actor, PROTECT, team_id=model.team_id, resource=ResourceRef("Alias", alias.id))
        if after[1] and status != ModelVersionStatus.PUBLISHED:
            raise VersionNotUsable("A protected alias points only at a published version.", field="modelVersionId")
    if before == after:
        return alias.id
    alias.model_version_id, alias.protected = after
    await session.flush()
    await session.execute(
        insert(AliasChange).values(
            id=new_id(),
            alias_id=alias.id,
            from_version_id=before[0],
            to_version_id=model_version_id,
            protected=alias.protected,
            reason=reason,
            changed_by=actor.id,
            changed_at=at,
        )
    )
    await record(
        session,
        actor,
        action=PROTECT if before[1] or after[1] else ALIAS,
        team_id=model.team_id,
        resources=[ResourceRef("Alias", alias.id), ResourceRef("Model", model_id)],
        before={"version": str(before[0]) if before[0] else None, "protected": before[1]},
        after={"version": str(after[0]), "protected": after[1], "name": name, "reason": reason},
        at=at,
        new_id=new_id,
    )
    return alias.id


async def _usable_status(session: WriteSession, actor: Actor, model: FoundModel, version_id: UUID) -> str:
    """The version's status, which cannot change before this transaction ends."""
    version = await find_version(session, actor, version_id, field="modelVersionId")
    if version.model.id != model.id:
        raise VersionOfOtherModel(f"This is a version of another model than {model.name}.", field="modelVersionId")
    row = await share_version(session, version)
    if row.status not in {ModelVersionStatus.READY, ModelVersionStatus.PUBLISHED}:
        raise VersionNotUsable(
            f"An alias points at a version that is ready or published; this one is {row.status}.",
            field="modelVersionId",
        )
    return row.status


async def _lock_alias(
    session: WriteSession,
    model_id: UUID,
    name: str,
    version_id: UUID,
    *,
    protected: bool | None,
    at: datetime,
    new_id: IdSource,
) -> tuple[Alias, tuple[UUID | None, bool]]:
    """The alias's row, held, and where it pointed before: nowhere if it has just been made."""
    row = {
        "id": new_id(),
        "model_id": model_id,
        "name": name,
        "model_version_id": version_id,
        "protected": bool(protected),
        "created_at": at,
    }
    statement = upsert(Alias).values(row).on_conflict_do_nothing(index_elements=["model_id", "name"])
    made = await session.scalar(statement.returning(Alias.id))
    held = select(Alias).where(Alias.model_id == model_id, Alias.name == name).with_for_update(key_share=True)
    alias = (await session.scalars(held.execution_options(populate_existing=True))).one()
    return alias, ((None, False) if made is not None else (alias.model_version_id, alias.protected))
