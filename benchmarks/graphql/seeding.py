"""The data of the benchmark, made once for each size and kept in `benchmarks/out` until script or schema change."""

import hashlib
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from benchmarks.report import OUT
from guildhall.auth.actor import system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding
from guildhall.clock import SystemClock, new_id
from guildhall.db.embedded import DATABASE, EmbeddedServer
from guildhall.db.migrating import load_tables, migrate, newest_revision
from guildhall.db.transaction import connect_database
from guildhall.keys import load_key
from guildhall.organisation.tokens import issue_token

SCRIPT = Path(__file__).parent / "seeding.sql"
VIEWER_TEAMS = 10
"""The viewer maintains this many of the hundred teams, and so sees one team model in ten."""
TOKEN_DAYS = 300


@dataclass(frozen=True)
class Seeded:
    """A running server with the data, and what a caller needs."""

    server: EmbeddedServer
    folder: Path
    models: int
    token: str
    viewer: UUID
    team_ids: list[UUID]

    @property
    def database_url(self) -> str:
        """As the service logs in."""
        return self.server.service_url

    @property
    def secret_key_file(self) -> Path:
        """What signs cursors, on our side and on the limit's."""
        return self.folder / "secret.key"


@asynccontextmanager
async def seeded_server(models: int) -> AsyncIterator[Seeded]:
    """PostgreSQL with that many models; made anew where it is missing or was made by another script."""
    folder = OUT / "data" / f"graphql-{models}"
    mark = hashlib.sha256(SCRIPT.read_bytes() + str(newest_revision()).encode()).hexdigest()
    about = folder / "seeded.json"
    known = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
    if known.get("mark") != mark and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    load_key(folder / "secret.key")
    async with EmbeddedServer(folder, durable=False, max_connections=120) as server:
        if known.get("mark") != mark:
            known = {"mark": mark, **await _seed(server, models)}
            about.write_text(json.dumps(known), encoding="utf-8")
        team_ids = [UUID(each) for each in known["team_ids"]]
        yield Seeded(server, folder, models, known["token"], UUID(known["viewer"]), team_ids)


async def _seed(server: EmbeddedServer, models: int) -> dict[str, object]:
    print(f"Seeding {models:,} models …", flush=True)
    load_tables()
    await migrate(server.owner_url)
    connection = await server.connect(database=DATABASE)
    try:
        for setting in ("session_replication_role = replica", f"bench.models = {models}", "synchronous_commit = off"):
            await connection.execute(f"SET {setting}")
        await connection.execute("SET maintenance_work_mem = '256MB'; SET work_mem = '64MB'")
        await connection.execute(SCRIPT.read_text(encoding="utf-8"))
        await connection.execute("RESET session_replication_role")
        teams = await connection.fetch("SELECT id FROM teams ORDER BY id LIMIT $1", VIEWER_TEAMS)
        viewer = await connection.fetchval("SELECT id FROM users ORDER BY id LIMIT 1")
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()
    team_ids = [row["id"] for row in teams]
    return {
        "token": await _sign_in(server, viewer, team_ids),
        "viewer": str(viewer),
        "team_ids": list(map(str, team_ids)),
    }


async def _sign_in(server: EmbeddedServer, viewer: UUID, team_ids: list[UUID]) -> str:
    """The viewer's roles, and a token as any client has one."""
    at = SystemClock().now()
    database = connect_database(server.service_url, audit_key=load_key(server.folder / "audit.key"))
    try:
        async with database.transaction() as session:
            session.add_all(
                RoleBinding(
                    id=new_id(),
                    subject_kind=ActorKind.USER.value,
                    subject_id=viewer,
                    team_id=team,
                    role="maintainer",
                    created_at=at,
                )
                for team in team_ids
            )
            await session.flush()
            issued = await issue_token(
                session,
                system_actor("benchmark"),
                subject_kind=ActorKind.USER,
                subject_id=viewer,
                label="benchmark",
                expires_at=at + timedelta(days=TOKEN_DAYS),
                at=at,
                new_id=new_id,
            )
    finally:
        await database.close()
    return issued.text
