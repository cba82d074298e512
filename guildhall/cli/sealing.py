"""The command that seals the audit record."""

import argparse
import asyncio
import os
import socket
from collections.abc import Coroutine

from guildhall.audit.sealer import open_sealer, open_signers
from guildhall.audit.streaming import open_streamer
from guildhall.cli.parts import run_parts, told_to_stop
from guildhall.clock import Clock, SystemClock, new_id
from guildhall.db.opening import open_database
from guildhall.db.transaction import Database
from guildhall.keys import add_key
from guildhall.settings import Settings


async def run_sealer(settings: Settings, options: argparse.Namespace) -> None:
    """`sealer`: stays until it is told to stop; with `--show-key` or `--new-key` it says the keys and ends."""
    if options.new_key:
        add_key(settings.seal_key_file)
    if options.new_key or options.show_key:
        for signer in open_signers(settings):
            print(signer.verifier.text)
        return
    async with told_to_stop() as stop, open_database(settings) as database:
        await run_parts(stop, sealing_parts(settings, database, SystemClock(), stop))


def sealing_parts(
    settings: Settings, database: Database, clock: Clock, stop: asyncio.Event
) -> dict[str, Coroutine[None, None, None]]:
    """The sealer, and the stream of what it sealed where the settings name a receiver."""
    parts = {"sealer": open_sealer(settings, database, clock).run(stop)}
    owner = f"{socket.gethostname()}:{os.getpid()}"
    streamer = open_streamer(settings, database, clock, owner=owner, new_id=new_id)
    return parts if streamer is None else {**parts, "audit stream": streamer.run(stop)}
