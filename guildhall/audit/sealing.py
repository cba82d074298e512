"""One pass of the seal: what has committed since the last one becomes leaves of the tree, under a new signed head.

What is unsealed follows from snapshots alone: all that the sealed snapshot sees has been looked at, so what it does not
see and the present one does is new. Ids and clocks play no part, and a transaction that commits late is found when it
does; nobody waits for it. The lock on the one row of `audit_seal` makes one sealer of many: it ends with the
transaction, so there is no lease to outlive its holder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, String, cast, select, text, tuple_, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.checkpoints import Head, Signer, sign_head
from guildhall.audit.mac import entry_of
from guildhall.audit.merkle import LEVELS_MAX, Edge, leaf_hash
from guildhall.audit.tables import AuditEvent, AuditLeaf, AuditSeal, AuditTile
from guildhall.db.transaction import Database

PASS_ROWS_MAX = 2_000
"""How many events one pass seals; what is left is the next one's."""

_EVENT = AuditEvent.__table__
COLUMNS = [column for column in _EVENT.columns if column.name != "xid"]
NAMES = [column.name for column in COLUMNS]

_SNAPSHOT = text("SELECT pg_current_snapshot()::text")
_IN_FLIGHT = "xid = ANY (ARRAY(SELECT pg_snapshot_xip(CAST(CAST(:sealed AS text) AS pg_snapshot))))"
_LATER = "xid >= pg_snapshot_xmax(CAST(CAST(:sealed AS text) AS pg_snapshot))"
_COMMITTED = "pg_visible_in_snapshot(xid, CAST(CAST(:pending AS text) AS pg_snapshot))"
_WITHOUT_LEAF = "NOT EXISTS (SELECT FROM audit_leaves WHERE event_id = audit_events.id)"
_AFTER = "(xid, id) > (CAST(CAST(:xid AS text) AS xid8), CAST(:id AS uuid))"

# Asked several times a second of a record that mostly rests: one statement without parameters, planned once.
_SEALED = "CAST(audit_seal.sealed_snapshot AS pg_snapshot)"
_WAITING = text(f"""
    SELECT note IS NULL OR pending_snapshot IS NOT NULL
        OR pg_snapshot_xmax(pg_current_snapshot()) < pg_snapshot_xmax({_SEALED})
        OR EXISTS (
            SELECT FROM audit_events
            WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip({_SEALED}))) AND {_WITHOUT_LEAF}
        )
        OR EXISTS (SELECT FROM audit_events WHERE xid >= pg_snapshot_xmax({_SEALED}) AND {_WITHOUT_LEAF}),
        size
    FROM audit_seal WHERE id = 1
""")  # noqa: S608 -- texts of ours


@dataclass(frozen=True)
class Pass:
    """What one pass did: how many events it sealed, how large the tree is, and whether more is waiting."""

    sealed: int
    size: int
    more: bool


async def seal_once(
    database: Database, signers: Sequence[Signer], *, at: datetime, rows_max: int = PASS_ROWS_MAX
) -> Pass | None:
    """Seal what has committed, at most `rows_max` events. None while another sealer is at it."""
    async with database.read() as session:  # a pass that finds nothing writes nothing
        waiting, size = (await session.execute(_WAITING)).one()
    if not waiting:
        return Pass(0, size, more=False)
    async with database.transaction() as session:
        locked = select(AuditSeal).where(AuditSeal.id == 1).with_for_update(skip_locked=True)
        found = (await session.scalars(locked)).one_or_none()
        return None if found is None else await _seal(session, found, signers, at=at, rows_max=rows_max)


async def _seal(
    session: AsyncSession, state: AuditSeal, signers: Sequence[Signer], *, at: datetime, rows_max: int
) -> Pass:
    resumed = state.pending_snapshot is not None
    if state.pending_snapshot is None:
        state.pending_snapshot = await _present(session)
        state.anew = _is_younger(state.pending_snapshot, state)
    rows = (await session.execute(_unsealed(state, state.pending_snapshot, rows_max))).mappings().all()
    edge = await load_edge(session, state.size)
    await _add_leaves(session, edge, rows)
    full = len(rows) == rows_max
    if full:
        state.pending_xid, state.pending_id = rows[-1]["in_transaction"], rows[-1]["id"]
    else:
        state.sealed_snapshot, state.anew = state.pending_snapshot, False
        state.pending_snapshot = state.pending_xid = state.pending_id = None
    if rows or state.note is None:
        state.size, state.sealed_at = edge.size, at
        state.note = sign_head(Head(signers[0].origin, edge.size, edge.root()), signers)
    return Pass(len(rows), edge.size, more=full or resumed)


async def _add_leaves(session: AsyncSession, edge: Edge, rows: Sequence[Mapping[str, Any]]) -> None:
    """Number the events, and write their leaves and the tiles that have changed."""
    leaves: list[dict[str, Any]] = []
    tiles: dict[tuple[int, int], bytes] = {}
    for row in rows:
        entry = entry_of({name: row[name] for name in NAMES})
        leaves.append({"number": edge.size, "event_id": row["id"], "act_at": row["act_at"], "entry": entry})
        tiles |= edge.append(leaf_hash(entry))
    if not leaves:
        return
    await session.execute(insert(AuditLeaf), leaves)
    tiles |= edge.growing()
    written = insert(AuditTile)
    upsert = written.on_conflict_do_update(
        index_elements=[AuditTile.level, AuditTile.number], set_={"hashes": written.excluded.hashes}
    )
    values = [{"level": level, "number": number, "hashes": hashes} for (level, number), hashes in tiles.items()]
    await session.execute(upsert, values)


async def _present(session: AsyncSession) -> str:
    return str((await session.scalars(_SNAPSHOT)).one())


def _is_younger(present: str, state: AuditSeal) -> bool:
    """Whether transactions are counted anew since the last pass: the database was moved to another server by a dump."""
    return _xmax(present) < _xmax(state.sealed_snapshot)


def _xmax(snapshot: str) -> int:
    return int(snapshot.split(":")[1])


def _unsealed(state: AuditSeal, pending: str, rows_max: int) -> Select[Any]:
    """Events without a leaf that have committed, in the order of their transactions.

    What was under way at the sealed snapshot and what came after are two questions, each of them to the index.
    """
    values = {"sealed": state.sealed_snapshot, "pending": pending, "xid": state.pending_xid, "id": state.pending_id}
    places = ["true"] if state.anew else [f"{_IN_FLIGHT} AND {_COMMITTED}", f"{_LATER} AND {_COMMITTED}"]
    arms = []
    for place in places:
        clauses = f"{place} AND {_WITHOUT_LEAF}" + ("" if state.pending_id is None else f" AND {_AFTER}")
        arm = select(*COLUMNS, _EVENT.c.xid).where(text(clauses)).order_by(_EVENT.c.xid, _EVENT.c.id).limit(rows_max)
        arms.append(select(arm.subquery()))
    both = union_all(*arms).subquery("unsealed")
    shown = [both.c[column.name] for column in COLUMNS]
    in_transaction = cast(both.c.xid, String).label("in_transaction")
    statement = select(*shown, in_transaction).order_by(both.c.xid, both.c.id).limit(rows_max)
    return statement.params(values)


async def load_edge(session: AsyncSession, size: int) -> Edge:
    """The right edge of the stored tree."""
    places = [(level, size >> 8 * (level + 1)) for level in range(LEVELS_MAX) if (size >> 8 * level) % 256]
    statement = select(AuditTile).where(tuple_(AuditTile.level, AuditTile.number).in_(places))
    return Edge(size, {tile.level: tile.hashes for tile in await session.scalars(statement)})
