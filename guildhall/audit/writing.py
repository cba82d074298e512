"""The INSERT of composed events: one statement for any number of them, the same text each time.

SQLAlchemy would compile an INSERT of many rows anew for each event, which costs more than writing it. So the columns
travel as the line of JSON that the code is over, and PostgreSQL takes them apart: they are written once, in Python, and
what is stored is what was signed.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.mac import AuditKey, canonical, code_of
from guildhall.audit.personal import Commitment
from guildhall.audit.tables import AuditEvent
from guildhall.db.transaction import AUDIT_KEY

PERSONAL = "personal"
"""Where a composed event carries the values of persons, which go into a table of their own."""

_SIGNED = [column.name for column in AuditEvent.__table__.columns if column.name not in {"mac", "xid"}]
_INSERT = (
    f"INSERT INTO audit_events ({', '.join(_SIGNED)}, mac) "  # noqa: S608 -- the table's own names
    f"SELECT {', '.join(f'event.{name}' for name in _SIGNED)}, given.mac "
    "FROM unnest($1::text[], $2::bytea[]) AS given (line, mac), "
    "jsonb_populate_record(NULL::audit_events, given.line::jsonb) AS event"
)
_INSERT_WITH_PERSONS = (
    f"WITH event AS ({_INSERT}) "  # noqa: S608 -- the same
    "INSERT INTO audit_personal (event_id, person_id, act_at, salt, content) "
    "SELECT event_id, person_id, act_at, salt, content::jsonb "
    "FROM unnest($3::uuid[], $4::uuid[], $5::timestamptz[], $6::bytea[], $7::text[]) "
    "AS said (event_id, person_id, act_at, salt, content)"
)
_INSERT_ONCE = (
    f"{_INSERT} ON CONFLICT (concludes_id, act_at) WHERE concludes_id IS NOT NULL DO NOTHING RETURNING concludes_id"
)


class Insertion(NamedTuple):
    """A statement, with `$1` and so on, and its arguments."""

    sql: str
    arguments: tuple[Any, ...]


def insertion_of(events: Sequence[Mapping[str, Any]], secret: bytes) -> Insertion:
    """Composed events, signed under the secret, and what they say of persons."""
    said = [(event, *one) for event in events for one in _persons(event).items()]
    if not said:
        return Insertion(_INSERT, _signed(events, secret))
    persons = (
        [event["id"] for event, _, _ in said],
        [person for _, person, _ in said],
        [event["act_at"] for event, _, _ in said],
        [commitment.salt for _, _, commitment in said],
        [canonical(commitment.content).decode() for _, _, commitment in said],
    )
    return Insertion(_INSERT_WITH_PERSONS, (*_signed(events, secret), *persons))


def insertion_once_of(conclusions: Sequence[Mapping[str, Any]], secret: bytes) -> Insertion:
    """Outcomes of intents; those that were concluded already are left out. Returns which intents are concluded now."""
    return Insertion(_INSERT_ONCE, _signed(conclusions, secret))


async def execute(session: AsyncSession, insertion: Insertion) -> Sequence[Any]:
    """Run it in the session's transaction; the first column of what it returns."""
    connection = await session.connection()
    result = await connection.exec_driver_sql(*insertion)
    return [row[0] for row in result] if result.returns_rows else ()


def secret_of(info: Mapping[str, Any]) -> bytes:
    """The audit key of a session, or of a database, by its `info`."""
    secret = info.get(AUDIT_KEY)
    assert isinstance(secret, bytes), "this session cannot record: take it from a Database that was given the audit key"
    return secret


def _signed(events: Sequence[Mapping[str, Any]], secret: bytes) -> tuple[list[str], list[bytes]]:
    key = _key(secret)
    lines = [canonical({**_columns(event), "mac_key": key.name}) for event in events]
    return [line.decode() for line in lines], [code_of(key, line) for line in lines]


def _columns(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != PERSONAL}


def _persons(event: Mapping[str, Any]) -> Mapping[Any, Commitment]:
    found: Mapping[Any, Commitment] = event[PERSONAL]
    return found


@lru_cache(maxsize=4)
def _key(secret: bytes) -> AuditKey:
    """With its name worked out once."""
    return AuditKey(secret)
