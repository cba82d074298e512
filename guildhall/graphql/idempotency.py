"""The same key with the same input gives the first answer; a hundred callers at once make one act."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from strawberry import UNSET

from guildhall.db.transaction import WriteSession
from guildhall.errors import Conflict, Invalid
from guildhall.graphql.context import Call
from guildhall.graphql.tables import KEY_CHARACTERS_MAX, IdempotencyKey


class IdempotencyKeyReused(Conflict):
    """The key was used for something else; answering with the first answer would hide a mistake."""

    code = "IDEMPOTENCY_KEY_REUSED"


class InvalidIdempotencyKey(Invalid):
    """A key that is empty or too long."""

    code = "INVALID_IDEMPOTENCY_KEY"


def require_key(key: str) -> None:
    """Raises InvalidIdempotencyKey for one that cannot be stored."""
    if not 1 <= len(key) <= KEY_CHARACTERS_MAX or "\0" in key:
        raise InvalidIdempotencyKey(
            f"An idempotency key has 1 to {KEY_CHARACTERS_MAX} characters.", field="idempotencyKey"
        )


async def take_key(call: Call, operation: str, key: str, given: object) -> dict[str, Any] | None:
    """Claim the key for this transaction: None says go on, anything else is the first answer.

    A rival that holds the key is waited for: if it commits, its answer is ours; if it rolls back, the key is ours.
    """
    digest = input_hash(given)
    where = {"actor_id": call.actor.id, "operation": operation, "key": key}
    claim = (
        insert(IdempotencyKey)
        .values(**where, input_hash=digest, created_at=call.at)
        .on_conflict_do_nothing()
        .returning(IdempotencyKey.key)
    )
    if (await call.session.execute(claim)).first() is not None:
        return None
    found = (
        await call.session.execute(select(IdempotencyKey.input_hash, IdempotencyKey.answer).filter_by(**where))
    ).one()
    if found.input_hash != digest:
        raise IdempotencyKeyReused(
            "This idempotency key was used before with another input; take a new key.", field="idempotencyKey"
        )
    answer: dict[str, Any] = found.answer
    return answer


async def keep_answer(session: WriteSession, call: Call, operation: str, key: str, answer: Mapping[str, Any]) -> None:
    """Store the answer under the claimed key, in the same transaction as the act."""
    where = {"actor_id": call.actor.id, "operation": operation, "key": key}
    await session.execute(update(IdempotencyKey).filter_by(**where).values(answer=as_json(answer)))


def input_hash(given: object) -> bytes:
    """SHA-256 of the input without its key, the same for the same values whatever their order."""
    plain = as_json(given)
    plain.pop("idempotency_key", None)
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).digest()


def as_json(value: Any) -> Any:  # noqa: ANN401 -- any value of an input or an answer
    """JSON's own types; ids, moments and enums as texts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
        return {name: as_json(item) for name, item in given.items() if item is not UNSET}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value
