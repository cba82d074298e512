"""`rotate-credentials-key` puts what is kept under a fresh key, and leaves the earlier one in the file."""

import argparse

import pytest
from sqlalchemy import select

from guildhall.cli.rotating import run_rotate_credentials_key
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.keys import load_keyring
from guildhall.settings import Settings
from scheduler.clusters.kept_credentials import keep_credentials, read_credentials
from scheduler.clusters.tables import Cluster, ClusterCredentials


class TestRunRotateCredentialsKey:
    async def test_what_was_kept_is_under_the_new_key(
        self, settings: Settings, database: Database, clock: SimulatedClock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = settings.credentials_key_file
        before = load_keyring(path)
        async with database.transaction() as session:
            cluster = Cluster(id=new_id(), name="gpu", region="eu", kind="KUBERNETES", created_at=clock.now())
            session.add(cluster)
            await session.flush()
            await keep_credentials(session, cluster.id, "secret", keyring=before, at=clock.now())
        await run_rotate_credentials_key(settings, argparse.Namespace())
        after = load_keyring(path)
        assert after.current != before.current
        assert capsys.readouterr().out.startswith(
            f"The credentials of 1 clusters are under the key {after.current} now, the first line of {path}."
        )
        async with database.read() as session:
            row = (await session.scalars(select(ClusterCredentials))).one()
        assert (row.key_name, row.revision) == (after.current, 1)
        path.write_text(path.read_text().splitlines()[0] + "\n")
        assert read_credentials(row, load_keyring(path)) == "secret"
