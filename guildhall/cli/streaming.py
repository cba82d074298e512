"""The command that says how far the stream of the audit record has come, and from where it goes on."""

import argparse

from guildhall.audit.stream_cursor import forget_stream, move_cursor, read_progress
from guildhall.auth.actor import system_actor
from guildhall.clock import Clock, SystemClock, new_id
from guildhall.db.opening import open_database
from guildhall.settings import Settings

STREAMER = system_actor("audit-stream")


async def run_audit_stream(settings: Settings, options: argparse.Namespace, clock: Clock | None = None) -> None:
    """`audit-stream`: only looks, unless it is given `--from-leaf` or `--forget`, each of which is recorded."""
    at = (clock or SystemClock()).now()
    async with open_database(settings) as database:
        if options.forget:
            async with database.transaction() as session:
                await forget_stream(session, STREAMER, at=at, new_id=new_id)
            print("The stream is forgotten; a sealer with GUILDHALL_AUDIT_STREAM_URL begins it anew, with leaf 0.")
            return
        if options.from_leaf is not None:
            async with database.transaction() as session:
                progress = await move_cursor(session, STREAMER, options.from_leaf, at=at, new_id=new_id)
            print(f"The stream goes on from leaf {progress.next_leaf} of {progress.sealed}.")
            return
        async with database.read() as session:
            found = await read_progress(session)
    if found is None:
        print("There is no stream: nothing was ever sent from here.")
        return
    since = "never" if found.delivered_at is None else found.delivered_at.isoformat(timespec="seconds")
    print(f"The stream is at leaf {found.next_leaf} of {found.sealed}: {found.waiting} wait. Last delivered: {since}.")
    if found.trouble is not None:
        print(f"What stands in the way: {found.trouble}")
