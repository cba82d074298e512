"""The command that seals the audit record."""

import argparse

from guildhall.audit.sealer import open_sealer, open_signers
from guildhall.cli.parts import run_parts, told_to_stop
from guildhall.clock import SystemClock
from guildhall.db.opening import open_database
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
        await run_parts(stop, {"sealer": open_sealer(settings, database, SystemClock()).run(stop)})
