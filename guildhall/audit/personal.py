"""What an event says of persons, kept where it can be erased: the event has a salted hash of it for each of them.

The salt is gone with the content, so that nobody can tell what was there by trying; event, code and proof stay as they
were.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.mac import canonical
from guildhall.audit.tables import AuditPersonal

SALT_BYTES = 16
_ENCODING = b"guildhall personal values 1\n"


@dataclass(frozen=True)
class Commitment:
    """The values of one person, and the salt that makes their hash say nothing about them."""

    content: Mapping[str, Any]
    salt: bytes

    @property
    def digest(self) -> bytes:
        """What the event holds of them."""
        return hashlib.sha256(_ENCODING + self.salt + canonical(self.content)).digest()


def commit_to(content: Mapping[str, Any], *, random: Callable[[int], bytes] = secrets.token_bytes) -> Commitment:
    """The values under a fresh salt."""
    return Commitment(content, random(SALT_BYTES))


def agrees(commitments: Mapping[str, str] | None, person_id: UUID, commitment: Commitment) -> bool:
    """Whether these are the values of which the event holds the hash."""
    held = (commitments or {}).get(person_id.hex, "")
    return hmac.compare_digest(held, commitment.digest.hex())


async def erase_person(session: AsyncSession, person_id: UUID, *, at: datetime) -> int:
    """Take away all that the record says of the person beside their id; returns of how many events.

    The caller decides who may, and records it.
    """
    statement = (
        update(AuditPersonal)
        .where(AuditPersonal.person_id == person_id, AuditPersonal.content.is_not(None))
        .values(salt=None, content=None, erased_at=at)
        .returning(AuditPersonal.event_id)
    )
    return len((await session.scalars(statement.execution_options(synchronize_session=False))).all())
