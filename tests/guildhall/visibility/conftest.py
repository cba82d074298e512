"""One world for all walks."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from guildhall.auth.subjects import ActorKind
from guildhall.db.transaction import Database
from guildhall.graphql.execution import Executor
from guildhall.schema.root import composed_schema
from tests.guildhall.graphql.oracle.world import standing_still
from tests.guildhall.visibility.rules import Caller, Facts, read_rows
from tests.guildhall.visibility.walking import Walk

SEED = 6


@pytest.fixture(scope="module")
async def walk(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walk]:
    folder: Path = tmp_path_factory.mktemp("data")
    async with standing_still(database, folder, seed=SEED) as still:
        async with database.read() as session:
            rows = await read_rows(session)
            datasets = {row.id: row.name for row in await session.execute(text("SELECT id, name FROM datasets"))}
        secrets = {"Dataset": {key: name for key, name in datasets.items() if name.startswith("scattered-data-")}}
        assert secrets["Dataset"], "names that stand for nothing else"
        found = Walk(still, rows, secrets, Executor(composed_schema(), still.settings, still.statements))
        for viewer in still.viewers:
            if viewer.actor.kind is not ActorKind.JOB:
                found.facts[viewer.name] = Facts(rows, Caller(viewer.actor))
        yield found
