"""Checking the record: every event against its code and its leaf, the tree against every head that was ever published.

What a check trusts is the audit keys, the seal's keys, and the heads that lie where the database cannot write. All else
may have been changed by whoever owns the database, and is recomputed.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Text, func, literal, literal_column, select, tuple_

from guildhall.audit.archive_rows import is_ours, use_findings
from guildhall.audit.checkpoints import Head, NotACheckpoint, Verifier, open_head
from guildhall.audit.mac import AuditKeys, entry_of
from guildhall.audit.merkle import Edge, leaf_hash
from guildhall.audit.personal import Commitment, agrees
from guildhall.audit.question_index import index_findings
from guildhall.audit.sealing import COLUMNS, NAMES
from guildhall.audit.tables import (
    AuditArchive,
    AuditEvent,
    AuditLeaf,
    AuditPersonal,
    AuditSeal,
    AuditTreeHead,
)
from guildhall.db.transaction import Database

PAGE_ROWS = 2_000
NAMED_MAX = 100
"""How many findings a report names; it counts them all."""


@dataclass
class Verification:
    """What a check found: how many events there are, and what is wrong, the first findings in words."""

    sealed: int = 0
    unsealed: int = 0
    archived: int = 0
    heads: int = 0
    wrong: int = 0
    named: list[str] = field(default_factory=list)

    def find(self, *sentences: str, wrong: int = 1) -> None:
        """Count findings, and keep their words while there is room."""
        self.wrong += wrong
        self.named += sentences[: NAMED_MAX - len(self.named)]


async def verify_record(
    database: Database, keys: AuditKeys, verifiers: Sequence[Verifier], published: Sequence[str]
) -> Verification:
    """Check all events, in pages that each take a transaction of their own.

    Writers never wait for it. What questions go by is compared with the events of a month at a time, for up to an hour
    each (`question_index`): a month that is about to leave for an archive waits for the comparison under way.

    `published` are the heads from outside of the database: without them a record that was cut, or put back together
    with its heads, cannot be told from a younger one.
    """
    found = Verification()
    async with database.read() as session:
        own = list(await session.scalars(select(AuditTreeHead.note)))  # before the seal, which is never older then
        state = await session.get_one(AuditSeal, 1)
        own += [] if state.note is None else [state.note]
        archives = (await session.execute(select(*AuditArchive.__table__.columns))).mappings().all()
    ours = [row for row in archives if is_ours(keys, dict(row))]
    archived = Archives(ours)
    for row in archives:
        if row not in ours:
            found.find(f"The archive {row['name']} was made up: its code does not fit.")
    heads = Heads(found, verifiers, [*own, *published])
    heads.pass_size(Edge())
    edge = Edge()
    async for page in leaves(database, state.size):
        personal = await _personal_of(database, [row["event_id"] for row in page])
        for row in page:
            _check_leaf(found, keys, row, edge.size, personal.get(row["event_id"], {}), archived)
            edge.append(leaf_hash(row["entry"]))
            heads.pass_size(edge)
    heads.end(edge)
    archived.end(found)
    if edge.size != state.size:
        found.find(f"There are {edge.size} leaves, and the seal says {state.size}.")
    found.sealed = edge.size
    await _check_unsealed(database, keys, state, found)
    findings = await index_findings(database, named_max=NAMED_MAX)
    for wrong, sentences in [*findings, *await use_findings(database, ours, named_max=NAMED_MAX)]:
        found.find(*sentences, wrong=wrong)
    return found


class Heads:
    """The heads that the tree must lead to, each at its size."""

    def __init__(self, found: Verification, verifiers: Sequence[Verifier], notes: Sequence[str]) -> None:
        self._found = found
        self._roots: dict[int, set[bytes]] = {}
        for note in dict.fromkeys(notes):
            head = self._opened(note, verifiers)
            if head is not None:
                self._roots.setdefault(head.size, set()).add(head.root)
        found.heads = len(self._roots)

    def _opened(self, note: str, verifiers: Sequence[Verifier]) -> Head | None:
        try:
            return open_head(note, verifiers)
        except NotACheckpoint as error:
            self._found.find(error.message)
            return None

    def pass_size(self, edge: Edge) -> None:
        """Compare, where a head is of the size that the tree has reached."""
        roots = self._roots.pop(edge.size, None)
        if roots is not None and roots != {edge.root()}:
            self._found.find(f"The first {edge.size} leaves do not lead to the head that was signed of them.")

    def end(self, edge: Edge) -> None:
        """What is left is of more leaves than there are."""
        if self._roots:
            self._found.find(
                f"A head of {max(self._roots)} leaves was signed, and there are {edge.size}: the record was cut, or an "
                "earlier one was put back."
            )


class Archives:
    """The months that have left: each accounts for as many events as it says, and no more."""

    def __init__(self, rows: Sequence[RowMapping]) -> None:
        self._rows = rows
        self._counts: Counter[str] = Counter()

    def holds(self, found: Verification, act_at: datetime) -> bool:
        """Whether an event of that moment has left; if so it is counted. An infinity is of no month."""
        for row in self._rows if act_at.tzinfo is not None else ():
            if row["begins_at"] <= act_at < row["ends_at"]:
                self._counts[row["name"]] += 1
                found.archived += 1
                return True
        return False

    def end(self, found: Verification) -> None:
        """What has left must be what was archived."""
        for row in self._rows:
            if (gone := self._counts[row["name"]]) != row["events"]:
                found.find(f"{gone} events of {row['name']} have left, and its archive has {row['events']}.")


async def leaves(database: Database, size: int) -> AsyncIterator[Sequence[RowMapping]]:
    """Leaves in their order, each with its event where that is still where it was."""
    event = AuditEvent.__table__
    joined = (event.c.id == AuditLeaf.event_id) & (event.c.act_at == AuditLeaf.act_at)
    statement = (
        select(AuditLeaf.number, AuditLeaf.event_id, AuditLeaf.entry, AuditLeaf.act_at.label("leaf_act_at"), *COLUMNS)
        .outerjoin(event, joined)
        .order_by(AuditLeaf.number)
    )
    for first in range(0, size, PAGE_ROWS):
        numbers = AuditLeaf.number.between(first, min(first + PAGE_ROWS, size) - 1)
        async with database.read() as session:
            yield (await session.execute(statement.where(numbers))).mappings().all()


async def _personal_of(database: Database, event_ids: Sequence[UUID]) -> Mapping[UUID, dict[UUID, AuditPersonal]]:
    held: dict[UUID, dict[UUID, AuditPersonal]] = {}
    async with database.read() as session:
        for row in await session.scalars(select(AuditPersonal).where(AuditPersonal.event_id.in_(event_ids))):
            held.setdefault(row.event_id, {})[row.person_id] = row
    return held


def _check_leaf(
    found: Verification,
    keys: AuditKeys,
    row: RowMapping,
    number: int,
    personal: Mapping[UUID, AuditPersonal],
    archived: "Archives",
) -> None:
    if row["number"] != number:
        found.find(f"Leaf {number} is missing; the next is {row['number']}.")
    if row["id"] is None:
        if not archived.holds(found, row["leaf_act_at"]):
            found.find(f"Event {row['event_id']} (leaf {row['number']}) was deleted.")
        return
    event = {name: row[name] for name in NAMES}
    if entry_of(event) != row["entry"]:
        found.find(f"Event {row['event_id']} (leaf {row['number']}) is not the one that was sealed.")
    _check_event(found, keys, event, personal)


def check_code(found: Verification, keys: AuditKeys, event: Mapping[str, Any]) -> None:
    """The event's own code."""
    if not keys.knows(event):
        found.find(
            f"Event {event['id']} is under the key {event['mac_key']}, which is not in GUILDHALL_AUDIT_KEY_FILE."
        )
    elif not keys.verify(event):
        found.find(f"Event {event['id']} was altered or made up: its code does not fit.")


def _check_event(
    found: Verification, keys: AuditKeys, event: Mapping[str, Any], personal: Mapping[UUID, AuditPersonal]
) -> None:
    """The event's own code, and the values of persons that it has hashes of."""
    check_code(found, keys, event)
    commitments = event["commitments"] or {}
    if {person.hex for person in personal} != set(commitments):
        found.find(f"Event {event['id']} speaks of other persons than the values that are kept for it.")
    for person, values in personal.items():
        erased = values.content is None or values.salt is None
        if not erased and not agrees(commitments, person, Commitment(values.content or {}, values.salt or b"")):
            found.find(f"Event {event['id']} has other values of the person {person} than were written.")


async def _check_unsealed(database: Database, keys: AuditKeys, state: AuditSeal, found: Verification) -> None:
    """Events without a leaf: those that the seal has not come to yet, and those that it should have had."""
    event = AuditEvent.__table__
    own = (AuditLeaf.event_id == event.c.id) & (AuditLeaf.act_at == event.c.act_at)  # an id may be borrowed
    without_leaf = ~select(AuditLeaf.number).where(own).exists()
    sealed = literal(state.sealed_snapshot, Text).op("::")(literal_column("pg_snapshot"))
    statement = (
        select(*COLUMNS, func.pg_visible_in_snapshot(event.c.xid, sealed).label("passed"))
        .where(without_leaf)
        .order_by(event.c.id, event.c.act_at)
        .limit(PAGE_ROWS)
    )
    last: tuple[Any, Any] | None = None
    while True:  # ends at the first page that is not full
        page = statement if last is None else statement.where(tuple_(event.c.id, event.c.act_at) > tuple_(*last))
        async with database.read() as session:
            rows = (await session.execute(page)).mappings().all()
        personal = await _personal_of(database, [row["id"] for row in rows])
        for row in rows:
            found.unsealed += 1
            _check_event(found, keys, {name: row[name] for name in NAMES}, personal.get(row["id"], {}))
            if row["passed"] and not state.anew and state.pending_snapshot is None:
                found.find(f"Event {row['id']} has no leaf, though the seal has passed it: it was put in afterwards.")
        if len(rows) < PAGE_ROWS:
            return
        last = rows[-1]["id"], rows[-1]["act_at"]
