"""The environments that runs happened in: one row for each distinct one."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import IdSource
from guildhall.errors import Invalid
from registry.lineage.tables import Environment

PACKAGES_MAX = 5_000
TEXT_CHARACTERS_MAX = 300


def normalised_environment(reported: Mapping[str, Any]) -> dict[str, Any]:
    """{python, platform, packages} of what a runner reported; anything else in it is left out, its digest too.

    Raises Invalid where a part has the wrong shape.
    """
    packages = reported.get("packages") or {}
    if not isinstance(packages, Mapping) or len(packages) > PACKAGES_MAX:
        raise Invalid(f"An environment lists at most {PACKAGES_MAX} packages by name.", field="environment.packages")
    return {
        "python": _text(reported.get("python"), "environment.python"),
        "platform": _text(reported.get("platform"), "environment.platform"),
        "packages": {
            _text(name, "environment.packages"): _text(packages[name], "environment.packages")
            for name in sorted(packages)
        },
    }


def environment_digest(description: Mapping[str, Any]) -> str:
    """SHA-256, hexadecimal, of the description as compact JSON with sorted keys: computed here, never as reported."""
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


async def ensure_environment(
    session: AsyncSession, reported: Mapping[str, Any], *, at: datetime, new_id: IdSource
) -> UUID:
    """The row of this environment, made where it is the first of its digest."""
    description = normalised_environment(reported)
    digest = environment_digest(description)
    row = {"id": new_id(), "digest": digest, "description": description, "created_at": at}
    made: UUID | None = await session.scalar(
        insert(Environment).values(row).on_conflict_do_nothing(index_elements=["digest"]).returning(Environment.id)
    )
    if made is not None:
        return made
    return (await session.scalars(select(Environment.id).where(Environment.digest == digest))).one()


def _text(value: object, field: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX:
        raise Invalid(
            f"Each part of an environment is a text of at most {TEXT_CHARACTERS_MAX} characters.", field=field
        )
    return value
