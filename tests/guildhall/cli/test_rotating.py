"""`rotate-credentials-key` puts what is kept under a fresh key, and leaves the earlier one in the file."""

import argparse
from datetime import timedelta

import pytest
from sqlalchemy import select

from guildhall.cli.rotating import run_rotate_credentials_key
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.inbox.tables import Webhook
from guildhall.inbox.webhook_secrets import put_secret, read_secrets
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
            webhook = Webhook(
                id=new_id(), label="chat", url="https://example.org/", kinds=["JOB_ENDED"], created_at=clock.now()
            )
            session.add(webhook)
            await session.flush()
            signed_with = await put_secret(
                session, webhook.id, overlap=timedelta(), keyring=before, at=clock.now(), new_id=new_id
            )
        await run_rotate_credentials_key(settings, argparse.Namespace())
        after = load_keyring(path)
        assert after.current != before.current
        assert capsys.readouterr().out.startswith(
            f"The credentials of 1 clusters and the secrets of 1 webhooks are under the key {after.current} now, the "
            f"first line of {path}."
        )
        async with database.read() as session:
            row = (await session.scalars(select(ClusterCredentials))).one()
        assert (row.key_name, row.revision) == (after.current, 1)
        path.write_text(path.read_text().splitlines()[0] + "\n")
        assert read_credentials(row, load_keyring(path)) == "secret"
        async with database.read() as session:
            found = await read_secrets(session, [webhook.id], keyring=load_keyring(path), at=clock.now())
        assert found == {webhook.id: [signed_with]}
