"""The command that asks months of the audit record which have left for archives."""

import argparse
import json
from contextlib import aclosing
from datetime import UTC, date, datetime, time
from uuid import UUID

from guildhall.audit.archive_search import (
    ArchiveQuestion,
    acts_of,
    data_reads,
    policy_changes,
    reads_without_grant,
    search_archives,
)
from guildhall.audit.archive_store import ArchiveStore
from guildhall.audit.mac import AuditKeys
from guildhall.audit.sealer import open_signers
from guildhall.auth.actor import system_actor
from guildhall.clock import Clock, SystemClock, new_id
from guildhall.db.opening import open_database
from guildhall.errors import Invalid
from guildhall.graphql.ids import split_id
from guildhall.keys import load_keys
from guildhall.settings import Settings

SEARCHER = system_actor("search-archive")


class NoSuchKey(Invalid):
    """Something that is neither an id as GraphQL has it nor a UUID."""

    code = "NO_SUCH_KEY"


async def run_search_archive(settings: Settings, options: argparse.Namespace, clock: Clock | None = None) -> None:
    """`search-archive`: a line of JSON for each act; the search is recorded, as every report is."""
    question = _question(options)
    store = ArchiveStore.open(options.archives)
    async with open_database(settings) as database:
        found = search_archives(
            database,
            store,
            SEARCHER,
            question,
            keys=AuditKeys(load_keys(settings.audit_key_file)),
            verifiers=[signer.verifier for signer in open_signers(settings)],
            clock=clock or SystemClock(),
            new_id=new_id,
        )
        async with aclosing(found):  # concluded while the database is open, also where nobody reads on
            async for act in found:
                print(json.dumps(act, ensure_ascii=False, sort_keys=True))


def _question(options: argparse.Namespace) -> ArchiveQuestion:
    if options.who_read is not None:
        text, means = f"who read {options.who_read}", data_reads(_key(options.who_read))
    elif options.acts_of is not None:
        text, means = f"acts of {options.acts_of}", acts_of(_key(options.acts_of))
    elif options.without_grant:
        text, means = "reads without grant", reads_without_grant
    else:
        text, means = "policy changes", policy_changes
    return ArchiveQuestion(since=_moment(options.since), until=_moment(options.until), text=text, means=means)


def _key(text: str) -> UUID:
    """An id as GraphQL has it, or the bare UUID as a report shows it."""
    found = split_id(text)
    if found is not None:
        return found[1]
    try:
        return UUID(text)
    except ValueError:
        raise NoSuchKey(f"{text[:80]!r} is neither an id nor a UUID.") from None


def _moment(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), UTC)
