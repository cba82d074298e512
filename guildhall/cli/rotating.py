"""The command that puts the credentials of clusters and the secrets of webhooks under a fresh key."""

import argparse

from guildhall.auth.actor import system_actor
from guildhall.clock import SystemClock, new_id
from guildhall.db.opening import open_database
from guildhall.inbox.webhook_secrets import encrypt_secrets_anew
from guildhall.keys import add_key
from guildhall.settings import Settings
from scheduler.clusters.kept_credentials import encrypt_anew


async def run_rotate_credentials_key(settings: Settings, _: argparse.Namespace) -> None:
    """`rotate-credentials-key`: workers and API go on meanwhile, because the file keeps the earlier keys as well."""
    path = settings.credentials_key_file
    async with open_database(settings) as database:
        keyring = add_key(path)
        async with database.transaction() as session:
            actor = system_actor("rotate-credentials-key")
            at = SystemClock().now()
            clusters = await encrypt_anew(session, actor, keyring=keyring, at=at, new_id=new_id)
            webhooks = await encrypt_secrets_anew(session, actor, keyring=keyring, at=at, new_id=new_id)
    print(
        f"The credentials of {len(clusters)} clusters and the secrets of {len(webhooks)} webhooks are under the key "
        f"{keyring.current} now, the first line of {path}."
        " Give this file to every API and worker, then drop its other lines."
    )
