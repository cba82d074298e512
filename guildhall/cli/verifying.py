"""The command that checks the audit record against its key."""

import argparse

from guildhall.audit.mac import AuditKey
from guildhall.audit.verifying import verify_record
from guildhall.db.opening import open_database
from guildhall.errors import GuildhallError
from guildhall.keys import load_key
from guildhall.settings import Settings


class AuditAltered(GuildhallError):
    """The record is not what was written, or was not written under this key."""

    code = "AUDIT_ALTERED"


async def run_verify_audit(settings: Settings, _: argparse.Namespace) -> None:
    """`verify-audit`: says how many events are as they were written; fails and names those that are not."""
    async with open_database(settings) as database:
        found = await verify_record(database, AuditKey(load_key(settings.audit_key_file)))
    for event_id in found.named:
        print(f"altered: {event_id}")
    if found.altered or found.other_key:
        raise AuditAltered(
            f"Of {found.checked} audit events {found.altered} were altered or made up, and {found.other_key} were "
            "written under another key than the one in GUILDHALL_AUDIT_KEY_FILE."
        )
    print(f"All {found.checked} audit events are as they were written.")
