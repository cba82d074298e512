"""The command that checks the audit record, writes it out for others to check, and checks what was written out."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from guildhall.audit.archive_store import ArchiveStore
from guildhall.audit.archiving import ArchiveMissing, fetch_archives, verify_archives
from guildhall.audit.checkpoints import Verifier
from guildhall.audit.exporting import Export, export_record
from guildhall.audit.heads import HeadStore
from guildhall.audit.mac import AuditKeys
from guildhall.audit.offline import verify_export
from guildhall.audit.sealer import open_signers
from guildhall.audit.verifying import Verification, verify_record
from guildhall.db.opening import open_database
from guildhall.db.transaction import Database
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
        store = ArchiveStore.open(options.archives) if options.archives else None
        if options.export is not None:
            export = await _export(database, store, options.export, published)
            print(f"{export.size - export.missing} sealed events are in {options.export}; their heads are signed by:")
            for verifier in _verifiers(settings, options):
                print(verifier.text)
            return
        keys = AuditKeys(load_keys(settings.audit_key_file))
        found = await verify_record(database, keys, _verifiers(settings, options), published)
        if store is not None:
            await verify_archives(database, store, keys, _verifiers(settings, options), found)
        _tell(found, archives_read=store is not None)


async def _export(database: Database, store: ArchiveStore | None, folder: Path, published: Sequence[str]) -> Export:
    with TemporaryDirectory(prefix="guildhall-archives-") as held:
        given, missing = await fetch_archives(database, store, Path(held))
        if missing:
            names = ", ".join(row["name"] for row in missing)
            where = "Name where they are with --archives." if store is None else f"They are not in {store.where}."
            raise ArchiveMissing(f"Events that were sealed lie in the archives {names}. {where}")
        return await export_record(database, folder, published, [path for _, path in given])


def _verify_offline(settings: Settings, options: argparse.Namespace) -> None:
    folder: Path = options.offline
    keys = AuditKeys(load_keys(settings.audit_key_file)) if settings.audit_key_file.exists() else None
    _tell(verify_export(folder, keys, _verifiers(settings, options)))


def _verifiers(settings: Settings, options: argparse.Namespace) -> list[Verifier]:
    """The keys that were named, or those of the sealer."""
    if options.key:
        return [Verifier.parse(text) for text in options.key]
    return [signer.verifier for signer in open_signers(settings)]


def _tell(found: Verification, *, archives_read: bool = False) -> None:
    for sentence in found.named:
        print(sentence)
    if found.wrong:
        raise AuditAltered(f"The audit record is not what was written: {found.wrong} findings.")
    read = "and were read there" if archives_read else "which were not read: name where they are with --archives"
    more = f"; {found.archived} more are in archives, {read}" if found.archived else ""
    print(
        f"All {found.sealed - found.archived} sealed events and {found.unsealed} that wait for the seal are as they "
        f"were written{more}; {found.heads} signed heads lead to them."
    )
