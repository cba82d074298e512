"""The command that checks the audit record."""

import argparse

from guildhall.audit.heads import HeadStore
from guildhall.audit.mac import AuditKeys
from guildhall.audit.sealer import open_signers
from guildhall.audit.verifying import Verification, verify_record
from guildhall.db.opening import open_database
from guildhall.errors import GuildhallError
from guildhall.keys import load_keys
from guildhall.settings import Settings


class AuditAltered(GuildhallError):
    """The record is not what was written, or was not written under these keys."""

    code = "AUDIT_ALTERED"


async def run_verify_audit(settings: Settings, _: argparse.Namespace) -> None:
    """`verify-audit`: says how many events are as they were written; fails and names what is wrong."""
    keys = AuditKeys(load_keys(settings.audit_key_file))
    verifiers = [signer.verifier for signer in open_signers(settings)]
    published = await HeadStore.open(settings.audit_heads_url).notes()
    async with open_database(settings) as database:
        tell(await verify_record(database, keys, verifiers, published))


def tell(found: Verification) -> None:
    """Say what was found; raises AuditAltered where anything is wrong."""
    for sentence in found.named:
        print(sentence)
    if found.wrong:
        raise AuditAltered(f"The audit record is not what was written: {found.wrong} findings.")
    more = f"; {found.archived} more are in archives" if found.archived else ""
    print(
        f"All {found.sealed - found.archived} sealed events and {found.unsealed} that wait for the seal are as they "
        f"were written{more}; {found.heads} signed heads lead to them."
    )
