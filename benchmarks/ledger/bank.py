"""The database of the benchmark: wallets deep enough never to run dry, and the four sides on it."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import insert

from benchmarks.ledger.sides import AT, Bare, FourStatements, Ours, Side, Wallet
from guildhall.auth.tables import Team
from guildhall.clock import new_id
from guildhall.db.embedded import DATABASE, EmbeddedServer
from guildhall.db.migrating import load_tables, migrate
from guildhall.db.transaction import Database, connect_database
from marketplace import ledger
from marketplace.tables import Programme

SCRIPT = Path(__file__).parent / "peers.sql"
PEERS = ("bare", "locking", "serial")
CREDITS = 10**15
SPARE_CONNECTIONS = 20


@dataclass(frozen=True)
class Bank:
    """Ours first among the sides; the first wallet is the hot one."""

    server: EmbeddedServer
    ours: Ours
    peers: tuple[Side, ...]
    wallets: list[Wallet]

    async def analyze(self) -> None:
        """What autovacuum does within a minute: plans made for empty tables are made again."""
        connection = await self.server.connect(database=DATABASE)
        try:
            await connection.execute("VACUUM (ANALYZE)")
        finally:
            await connection.close()


@asynccontextmanager
async def opened_bank(wallets: int, connections: int, *, durable: bool) -> AsyncIterator[Bank]:
    """A server of its own, removed with the block. `durable` waits for the disk at each commit, as the product does."""
    load_tables()
    with tempfile.TemporaryDirectory(prefix="guildhall-bench-ledger-") as folder:
        most = connections + SPARE_CONNECTIONS
        async with EmbeddedServer(Path(folder) / "server", durable=durable, max_connections=most) as server:
            await migrate(server.owner_url)
            database = connect_database(server.service_url, pool_size=connections)
            try:
                opened = await _open_wallets(database, wallets)
                await _make_peers(server)
                yield Bank(
                    server,
                    Ours(database),
                    (
                        Bare(database),
                        FourStatements("READ COMMITTED", "locking", database, serializable=False),
                        FourStatements("SERIALIZABLE", "serial", database, serializable=True),
                    ),
                    opened,
                )
            finally:
                await database.close()


async def _open_wallets(database: Database, count: int) -> list[Wallet]:
    programme = new_id()
    wallets = [Wallet(new_id(), programme, new_id()) for _ in range(count)]
    async with database.transaction() as session:
        values = {"name": "bench", "title": "A programme", "strategic_class": "A", "created_at": AT}
        await session.execute(insert(Programme).values(id=programme, **values))
        await session.execute(
            insert(Team),
            [
                {"id": wallet.team, "name": f"team-{number}", "title": "A team", "created_at": AT}
                for number, wallet in enumerate(wallets)
            ],
        )
    for wallet in wallets:
        async with database.transaction() as session:
            await ledger.allocate(
                session,
                allocation_id=wallet.allocation,
                team_id=wallet.team,
                programme_id=programme,
                credits=CREDITS,
                valid_from=AT,
                valid_to=AT + timedelta(days=10),
                reason="a benchmark",
                at=AT,
                key=f"give {wallet.allocation}",
            )
    return wallets


async def _make_peers(server: EmbeddedServer) -> None:
    connection = await server.connect(database=DATABASE)
    try:
        for schema in PEERS:
            for statement in _statements(SCRIPT.read_text(encoding="utf-8") % {"schema": schema}):
                await connection.execute(statement)
    finally:
        await connection.close()


def _statements(script: str) -> Sequence[str]:
    return script.split("-- ----\n")
