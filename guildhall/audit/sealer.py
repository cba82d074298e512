"""The sealer: seals what commits, several times a second, and publishes the heads where the database cannot reach.

It looks by itself, so no lost notice delays it; a pass that finds nothing writes nothing. Before it publishes it makes
sure that its head continues the last one that was published: a record that was put back is told of, never signed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from sqlalchemy import Integer, bindparam, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from guildhall.audit.checkpoints import Head, Signer, Verifier, read_head
from guildhall.audit.heads import HeadsDisagree, HeadStore
from guildhall.audit.merkle import consistency_proof, root_at
from guildhall.audit.sealing import seal_once
from guildhall.audit.tables import AuditSeal, AuditTreeHead
from guildhall.audit.tiles import tile_reader
from guildhall.audit.witness import Witness
from guildhall.clock import Clock
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError, Unavailable
from guildhall.keys import load_keys
from guildhall.settings import Settings

TICK_SECONDS = 0.2
PUBLISH_SECONDS = 1.0
RESTING_SECONDS = 10.0
"""How often a head that is published already is compared with what was published."""
FAILURE_SECONDS = 2.0
PARTITIONS_SECONDS = 3_600.0
MONTHS_AHEAD = 3

logger = logging.getLogger(__name__)

_MAKE_PARTITIONS = text("SELECT audit_make_partitions(:at, :months)").bindparams(
    bindparam("at", type_=AuditSeal.sealed_at.type), bindparam("months", type_=Integer())
)


class Sealer:
    """One sealer of one process; of several, one works at a time and the others find nothing to do."""

    def __init__(
        self,
        database: Database,
        signers: Sequence[Signer],
        store: HeadStore,
        clock: Clock,
        *,
        witness: Witness | None = None,
    ) -> None:
        self._database = database
        self._signers = signers
        self._store = store
        self._clock = clock
        self._witness = witness
        self._published: Head | None = None
        self._recorded: int | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Seal and publish until told to stop; what goes wrong is told, and tried again."""
        loop = asyncio.get_running_loop()
        published_at, partitions_at, behind = float("-inf"), loop.time(), True
        while not stop.is_set():
            pause = TICK_SECONDS
            try:
                if loop.time() >= partitions_at:
                    await self.make_partitions()
                    partitions_at = loop.time() + PARTITIONS_SECONDS
                if loop.time() >= published_at + (PUBLISH_SECONDS if behind else RESTING_SECONDS):
                    published_at, behind = loop.time(), True
                    await self._publish_where_reachable()
                done = await seal_once(self._database, self._signers, at=self._clock.now())
                behind = done is None or done.size != self._recorded
                pause = 0 if done is not None and done.more else TICK_SECONDS
            except (GuildhallError, DBAPIError, OSError) as error:
                logger.error("The audit record is not sealed: %s", error)  # noqa: TRY400 -- the sentence says it all
                pause = FAILURE_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)

    async def _publish_where_reachable(self) -> None:
        """A store or a witness that is away holds up no seal; a head that disagrees with a published one does."""
        try:
            await self.publish()
        except Unavailable as error:
            logger.error("The signed head is not published: %s", error)  # noqa: TRY400 -- the sentence says it all

    async def make_partitions(self) -> None:
        """See to it that the months to come have their partitions."""
        async with self._database.transaction() as session:
            await session.execute(_MAKE_PARTITIONS, {"at": self._clock.now(), "months": MONTHS_AHEAD})

    async def publish(self) -> None:
        """Publish the present head where it is a new one. Raises HeadsDisagree, and what store and witness raise."""
        async with self._database.read() as session:
            note = (await session.get_one(AuditSeal, 1)).note
        if note is None:
            return
        head = read_head(note)
        if self._published is None:
            self._published = await self._last_published(head)
        await self._require_continuation(self._published, head)
        if self._recorded == head.size:
            return
        await self._store.publish(note)
        self._published = head
        cosigned = note if self._witness is None else await self._witness.cosign(note, self._prove)
        async with self._database.transaction() as session:
            values = {"size": head.size, "note": cosigned, "published_at": self._clock.now()}
            await session.execute(insert(AuditTreeHead).values(values).on_conflict_do_nothing())
        self._recorded = head.size

    async def _last_published(self, head: Head) -> Head | None:
        """The largest head in the store; asked once, and only for what is at least as large as the database's own."""
        async with self._database.read() as session:
            known = await session.scalar(select(AuditTreeHead.size).order_by(AuditTreeHead.size.desc()).limit(1))
        notes = await self._store.notes(above=-1 if known is None else min(known, head.size) - 1)
        return read_head(notes[-1]) if notes else None

    async def _require_continuation(self, published: Head | None, head: Head) -> None:
        if published is None:
            return
        if published.size <= head.size:
            async with self._database.read() as session:
                if await root_at(published.size, tile_reader(session)) == published.root:
                    return
        raise HeadsDisagree(
            f"A head of {published.size} leaves was published, and the record of {head.size} leaves does not continue "
            "it: it was changed, cut or put back. Nothing more is published; compare with `verify-audit`."
        )

    async def _prove(self, earlier: int, size: int) -> Sequence[bytes]:
        async with self._database.read() as session:
            return await consistency_proof(earlier, size, tile_reader(session))


def open_sealer(settings: Settings, database: Database, clock: Clock) -> Sealer:
    """The sealer as the settings have it. Raises SettingsError or NotACheckpoint for a key that is none."""
    witness = None
    if settings.audit_witness_url:
        witness = Witness(settings.audit_witness_url, Verifier.parse(settings.audit_witness_key))
    return Sealer(database, open_signers(settings), HeadStore.open(settings.audit_heads_url), clock, witness=witness)


def open_signers(settings: Settings) -> list[Signer]:
    """The keys that sign heads, the present one first; the file is made where it is missing."""
    return [Signer(settings.audit_origin, seed) for seed in load_keys(settings.seal_key_file)]
