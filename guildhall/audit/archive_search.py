"""The auditor's questions to months that have left the database: each archive is proven before it answers.

What an archive does not hold is what was never in it: the values of persons stay in the database, so that they can be
erased, and are joined to the answers from there.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, select

from guildhall.audit.archive_rows import is_ours
from guildhall.audit.archive_store import ArchiveStore
from guildhall.audit.archives import read_lines, verify_archive
from guildhall.audit.archiving import ArchiveMissing, month_of, sha256_of
from guildhall.audit.checkpoints import Verifier
from guildhall.audit.mac import AuditKeys
from guildhall.audit.offline import parsed_line
from guildhall.audit.outcomes import conclude
from guildhall.audit.questions import archives_between
from guildhall.audit.record import record
from guildhall.audit.search import CONCLUDED, PERMISSION
from guildhall.audit.tables import POLICY_ACTIONS, AuditArchive, AuditPersonal, Outcome
from guildhall.auth.actor import Actor
from guildhall.clock import Clock, IdSource
from guildhall.db.among import among
from guildhall.db.transaction import Database
from guildhall.errors import Conflict

PAGE_ACTS = 1_000
_NOT_SHOWN = frozenset({"mac", "mac_key", "commitments", "concludes_id", "act_at"})
_KEYS = ("id", "actor_id", "on_behalf_of_id", "team_id", "access_grant_id")
Event = Mapping[str, Any]


class ArchiveNotProven(Conflict):
    """An archive that is not what was written answers no question."""

    code = "ARCHIVE_NOT_PROVEN"


@dataclass(frozen=True, kw_only=True)
class ArchiveQuestion:
    """What is asked: of which time, and which events are meant; `text` is the question as the record keeps it."""

    since: datetime | None
    until: datetime | None
    text: str
    means: Callable[[Event], bool]


def data_reads(resource_id: UUID) -> Callable[[Event], bool]:
    """Who read this data; the id of a data set covers its versions."""
    return lambda event: event["permission_class"] == "DATA_READ" and resource_id.hex in event["resource_ids"]


def acts_of(actor_id: UUID) -> Callable[[Event], bool]:
    """Everything that this person or program did, by a job of theirs as well."""
    return lambda event: actor_id.hex in {event["actor_id"], event["on_behalf_of_id"]}


def reads_without_grant(event: Event) -> bool:
    """Reads of data that no access grant stands behind."""
    return event["permission_class"] == "DATA_READ" and event["access_grant_id"] is None


def policy_changes(event: Event) -> bool:
    """Changes of who may what."""
    return event["permission_class"] == "ADMIN_WRITE" and event["action"] in POLICY_ACTIONS


async def search_archives(
    database: Database,
    store: ArchiveStore,
    actor: Actor,
    question: ArchiveQuestion,
    *,
    keys: AuditKeys,
    verifiers: Sequence[Verifier],
    clock: Clock,
    new_id: IdSource,
) -> AsyncGenerator[dict[str, Any], None]:
    """The acts that the question means, month by month, in the order of the seal within each.

    The search is recorded before the first and concluded after the last. Raises ArchiveMissing and ArchiveNotProven
    before any act of that month, and what the store raises.
    """
    wanted = {"question": question.text, "since": question.since, "until": question.until}
    async with database.transaction() as session:
        event_id = await record(
            session, actor, action=PERMISSION, outcome=Outcome.STARTED, after=wanted, at=clock.now(), new_id=new_id
        )
    outcome, shown = Outcome.ABORTED, 0
    try:
        for row in await _archives(database, question):
            with TemporaryDirectory(prefix="guildhall-archive-") as folder:
                path = Path(folder) / month_of(row).file_name
                if not await store.fetch(path.name, path):
                    raise ArchiveMissing(f"The archive {row['name']} is not in {store.where}.")
                await asyncio.to_thread(_require_proof, row, path, keys, verifiers)
                acts = await asyncio.to_thread(_acts, path, question)
            for first in range(0, len(acts), PAGE_ACTS):
                for act in await _with_persons(database, acts[first : first + PAGE_ACTS]):
                    shown += 1
                    yield act | {"archive": row["name"]}
        outcome = Outcome.COMPLETED
    finally:
        async with database.transaction() as session:
            await conclude(session, event_id, outcome=outcome, rows=shown, at=clock.now(), new_id=new_id)


async def _archives(database: Database, question: ArchiveQuestion) -> Sequence[RowMapping]:
    statement = select(*AuditArchive.__table__.columns).where(*archives_between(question.since, question.until))
    async with database.read() as session:
        return (await session.execute(statement.order_by(AuditArchive.begins_at))).mappings().all()


def _require_proof(row: RowMapping, path: Path, keys: AuditKeys, verifiers: Sequence[Verifier]) -> None:
    """Of the row, that we wrote it; of the file, that it is the one, and that each event in it was sealed."""
    if not is_ours(keys, dict(row)):
        raise ArchiveNotProven(f"What the database says of the archive {row['name']} was not written by us.")
    if sha256_of(path) != row["sha256"]:
        raise ArchiveNotProven(f"The archive {row['name']} is not the file that was written: its SHA-256 is another.")
    found = verify_archive(path, month_of(row), keys, verifiers)
    if found.wrong:
        raise ArchiveNotProven(f"The archive {row['name']} is not proven: {found.named[0]}")


def _acts(path: Path, question: ArchiveQuestion) -> list[dict[str, Any]]:
    """One for an act: an intent with what its conclusion says, which names the same caller and resources."""
    acts: dict[str, dict[str, Any]] = {}
    conclusions: list[Event] = []
    for number, line in read_lines(path):
        event = parsed_line(line)
        if not (_between(event, question) and question.means(event)):
            continue
        if event["concludes_id"] is None:
            acts[event["id"]] = {name: value for name, value in event.items() if name not in _NOT_SHOWN} | {
                "concluded_at": None, "leaf_number": number,
            }  # fmt: skip
        else:
            conclusions.append(event)
    for conclusion in conclusions:
        known = {name: conclusion[name] for name in CONCLUDED if conclusion[name] is not None}
        acts[conclusion["concludes_id"]] |= {**known, "concluded_at": conclusion["occurred_at"]}
    return list(acts.values())


def _between(event: Event, question: ArchiveQuestion) -> bool:
    act_at = datetime.fromisoformat(event["act_at"])
    return (question.since is None or act_at >= question.since) and (question.until is None or act_at < question.until)


async def _with_persons(database: Database, acts: Sequence[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """With ids as everywhere else, and the caller's own values where they are not erased."""
    statement = select(AuditPersonal).where(among(AuditPersonal.event_id, [UUID(act["id"]) for act in acts]))
    async with database.read() as session:
        persons = {(row.event_id, row.person_id): row for row in await session.scalars(statement)}
    shown = []
    for act in acts:
        ids = {name: None if act[name] is None else str(UUID(act[name])) for name in _KEYS}
        caller = persons.get((UUID(act["id"]), UUID(act["on_behalf_of_id"] or act["actor_id"])))
        said = {} if caller is None or caller.content is None else caller.content
        more = {
            "resource_ids": [str(UUID(key)) for key in act["resource_ids"]],
            "justification": said.get("justification"),
            "address": said.get("address"),
            "erased_at": None if caller is None or caller.erased_at is None else caller.erased_at.isoformat(),
        }
        shown.append(act | ids | more)
    return shown
