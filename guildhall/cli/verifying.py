"""The command that checks the audit record, writes it out for others to check, and checks what was written out."""

import argparse
from pathlib import Path

from guildhall.audit.checkpoints import Verifier
from guildhall.audit.exporting import export_record
from guildhall.audit.heads import HeadStore
from guildhall.audit.mac import AuditKeys
from guildhall.audit.offline import verify_export
from guildhall.audit.sealer import open_signers
from guildhall.audit.verifying import Verification, verify_record
from guildhall.db.opening import open_database
from guildhall.errors import GuildhallError
from guildhall.keys import load_keys
from guildhall.settings import Settings


class AuditAltered(GuildhallError):
    """The record is not what was written, or was not written under these keys."""

    code = "AUDIT_ALTERED"


async def run_verify_audit(settings: Settings, options: argparse.Namespace) -> None:
    """`verify-audit`: says how many events are as they were written; fails and names what is wrong.

    `--export` writes the sealed record into a folder instead; `--offline` checks such a folder, without a database,
    and with `--key` also without our own keys.
    """
    if options.offline is not None:
        _verify_offline(settings, options)
        return
    published = await HeadStore.open(settings.audit_heads_url).notes()
    async with open_database(settings) as database:
        if options.export is not None:
            export = await export_record(database, options.export, published)
            print(f"{export.size - export.archived} sealed events are in {options.export}; their heads are signed by:")
            for verifier in _verifiers(settings, options):
                print(verifier.text)
            return
        keys = AuditKeys(load_keys(settings.audit_key_file))
        _tell(await verify_record(database, keys, _verifiers(settings, options), published))


def _verify_offline(settings: Settings, options: argparse.Namespace) -> None:
    folder: Path = options.offline
    keys = AuditKeys(load_keys(settings.audit_key_file)) if settings.audit_key_file.exists() else None
    _tell(verify_export(folder, keys, _verifiers(settings, options)))


def _verifiers(settings: Settings, options: argparse.Namespace) -> list[Verifier]:
    """The keys that were named, or those of the sealer."""
    if options.key:
        return [Verifier.parse(text) for text in options.key]
    return [signer.verifier for signer in open_signers(settings)]


def _tell(found: Verification) -> None:
    for sentence in found.named:
        print(sentence)
    if found.wrong:
        raise AuditAltered(f"The audit record is not what was written: {found.wrong} findings.")
    more = f"; {found.archived} more are in archives" if found.archived else ""
    print(
        f"All {found.sealed - found.archived} sealed events and {found.unsealed} that wait for the seal are as they "
        f"were written{more}; {found.heads} signed heads lead to them."
    )
