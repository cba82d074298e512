"""The peer in Python: Strawberry as its documentation has it, with dataloaders, on asyncpg's pool and the same tables.

It asks no token and reads the viewer's predicate as constants; that is in its favour.
"""

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import strawberry
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar
from sqlalchemy.engine import make_url
from strawberry.dataloader import DataLoader
from strawberry.litestar import make_graphql_controller
from strawberry.scalars import ID

from guildhall.db.engine import server_settings

TEAMS = [UUID(each) for each in os.environ.get("PEER_TEAMS", "").split(",") if each]


class Loaders:
    """Made anew for each request."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.pool = pool
        self.teams: DataLoader[UUID, Team] = DataLoader(self._teams)
        self.versions: DataLoader[tuple[UUID, int], list[ModelVersion]] = DataLoader(self._versions)

    async def _teams(self, keys: Sequence[UUID]) -> list["Team"]:
        rows = await self.pool.fetch("SELECT id, name FROM teams WHERE id = ANY ($1)", list(keys))
        found = {row["id"]: Team(name=row["name"]) for row in rows}
        return [found[key] for key in keys]

    async def _versions(self, keys: Sequence[tuple[UUID, int]]) -> list[list["ModelVersion"]]:
        rows = await self.pool.fetch(
            """SELECT version.* FROM unnest($1::uuid[]) AS parent (id) CROSS JOIN LATERAL (
                SELECT id, model_id, number, status, created_at FROM model_versions
                WHERE model_id = parent.id ORDER BY number DESC LIMIT $2) AS version""",
            [key for key, _ in keys],
            keys[0][1],
        )
        found: dict[UUID, list[ModelVersion]] = {key: [] for key, _ in keys}
        for row in rows:
            found[row["model_id"]].append(
                ModelVersion(
                    id=ID(f"ModelVersion_{row['id'].hex}"),
                    number=row["number"],
                    status=row["status"],
                    created_at=row["created_at"],
                )
            )
        return [found[key] for key, _ in keys]


Info = strawberry.Info[dict[str, Any], None]


@strawberry.type
class Team:
    """Who owns models."""

    name: str


@strawberry.type
class ModelVersion:
    """One version of a model."""

    id: ID
    number: int
    status: str
    created_at: datetime


@strawberry.type
class PageInfo:
    """Where the page ended."""

    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class ModelVersionConnection:
    """The newest versions."""

    nodes: list[ModelVersion]


@strawberry.type
class Model:
    """What a team offers."""

    key: strawberry.Private[UUID]
    team_key: strawberry.Private[UUID]
    id: ID
    name: str
    task: str
    description: str
    created_at: datetime

    @strawberry.field
    async def team(self, info: Info) -> Team:
        """The owner."""
        loaders: Loaders = info.context["loaders"]
        return await loaders.teams.load(self.team_key)

    @strawberry.field
    async def versions(self, info: Info, first: int) -> ModelVersionConnection:
        """The newest versions."""
        loaders: Loaders = info.context["loaders"]
        return ModelVersionConnection(nodes=await loaders.versions.load((self.key, first)))


@strawberry.type
class ModelConnection:
    """A page of models."""

    nodes: list[Model]
    page_info: PageInfo


@strawberry.type
class Query:
    """The root."""

    @strawberry.field
    async def models(self, info: Info, first: int, after: str | None = None) -> ModelConnection:
        """Models that the viewer may see, newest first, by keyset."""
        loaders: Loaders = info.context["loaders"]
        beyond, binds = "", []
        if after is not None:
            moment, key = base64.urlsafe_b64decode(after).decode().split(" ")
            beyond, binds = "AND (created_at, id) < ($3, $4)", [datetime.fromisoformat(moment), UUID(key)]
        rows = await loaders.pool.fetch(
            f"""SELECT id, name, task, description, created_at, team_id FROM models
                WHERE (visibility = 'ORGANISATION' OR team_id = ANY ($2)) {beyond}
                ORDER BY created_at DESC, id DESC LIMIT $1""",  # noqa: S608 -- one of two fixed texts
            first + 1,
            TEAMS,
            *binds,
        )
        nodes = [
            Model(
                key=row["id"],
                team_key=row["team_id"],
                id=ID(f"Model_{row['id'].hex}"),
                name=row["name"],
                task=row["task"],
                description=row["description"],
                created_at=row["created_at"],
            )
            for row in rows[:first]
        ]
        last = rows[first - 1 : first] or rows[-1:]
        cursors = [base64.urlsafe_b64encode(f"{row['created_at'].isoformat()} {row['id']}".encode()) for row in last]
        return ModelConnection(
            nodes=nodes,
            page_info=PageInfo(has_next_page=len(rows) > first, end_cursor=cursors[0].decode() if cursors else None),
        )


async def serve(url: str, port: int, connections: int) -> None:
    """Until the process is ended. Granian shares the port with others of its kind, so this may run several times."""
    parsed = make_url(url)
    pool = await asyncpg.create_pool(
        host=str(parsed.query["host"]),
        user=parsed.username,
        password=parsed.password,
        database=parsed.database,
        min_size=connections,
        max_size=connections,
        server_settings=server_settings(parsed, statement_seconds=30),
    )

    async def context() -> dict[str, Any]:
        return {"loaders": Loaders(pool)}

    @asynccontextmanager
    async def closed_after(_: Litestar) -> AsyncIterator[None]:
        yield
        await pool.close()

    controller = make_graphql_controller(strawberry.Schema(Query), path="/graphql", context_getter=context)
    app = Litestar(route_handlers=[controller], lifespan=[closed_after], openapi_config=None, logging_config=None)
    await Server(
        app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False
    ).serve()


if __name__ == "__main__":
    asyncio.run(serve(os.environ["PEER_DATABASE_URL"], int(sys.argv[1]), int(sys.argv[2])))
