"""What is written of files before they leave: the intent in the audit record, and the reading that budgets count."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from guildhall.audit.record import add_events, compose_event
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from registry.access.reading import OpenedFile
from registry.access.sources import restricting_sources
from registry.volume.reserving import Reading


async def record_intent(
    session: WriteSession,
    actor: Actor,
    files: Sequence[OpenedFile],
    *,
    size_bytes: int,
    at: datetime,
    new_id: IdSource,
) -> Mapping[str, Any]:
    """Write that these bytes are about to leave, and return the event; to be committed before the first.

    The event's files stand in the order in which they leave.
    """
    first = files[0]
    intent = compose_event(
        actor,
        action=first.action,
        outcome=Outcome.STARTED,
        resources=_resources(files),
        team_id=first.team_id,
        purpose=first.purpose,
        justification=first.justification,
        access_grant_id=first.grant_id,
        rows=rows_of(files) if size_bytes == bytes_of(files) else None,
        bytes=size_bytes,
        after=_parts(files),
        at=at,
        new_id=new_id,
    )
    await add_events(session, [intent])
    return intent


def bytes_of(files: Sequence[OpenedFile]) -> int:
    """What they amount to together."""
    return sum(file.size_bytes for file in files)


def rows_of(files: Sequence[OpenedFile]) -> int | None:
    """Their rows together; None where nobody counted those of one of them."""
    counted = [file.rows for file in files if file.rows is not None]
    return sum(counted) if len(counted) == len(files) else None


async def readings_of(session: ReadSession, files: Sequence[OpenedFile], *, size_bytes: int) -> list[Reading]:
    """What counts against the budgets of data sets, in their order. Of a part of a data set, its share of the rows.

    The bytes of a model count for each RESTRICTED data set that it was made from; it has no rows. Packages, and models
    of more open data, count for nothing.
    """
    owner = files[0].resources[0]
    if owner.type == "DatasetVersion":
        rows = rows_of(files)
        share = None if rows is None else -(-rows * size_bytes // max(bytes_of(files), 1))
        return [_reading(files, files[0].resources[1].id, share, size_bytes)]
    if owner.type != "ModelVersion":
        return []
    sources = (await restricting_sources(session, [owner.id])).get(owner.id, [])
    dataset_ids = sorted({source.dataset_id for source in sources if source.restricted})
    return [_reading(files, dataset_id, 0, size_bytes) for dataset_id in dataset_ids]


def _reading(files: Sequence[OpenedFile], dataset_id: UUID, rows: int | None, size_bytes: int) -> Reading:
    first = files[0]
    return Reading(
        owner=first.resources[0],
        dataset_id=dataset_id,
        rows=rows,
        size_bytes=size_bytes,
        team_id=first.team_id,
        permission=first.action,
        purpose=first.purpose,
        justification=first.justification,
        grant_id=first.grant_id,
        resources=_resources(files),
    )


def _resources(files: Sequence[OpenedFile]) -> tuple[ResourceRef, ...]:
    return (*files[0].resources, *(ResourceRef("Artifact", file.artifact_id) for file in files))


def _parts(files: Sequence[OpenedFile]) -> dict[str, Any] | None:
    """What was cut out of them or shown of them, for the record; None where they leave whole."""
    limits, shown_rows = files[0].limits, files[0].shown_rows
    if limits is None and shown_rows is None:
        return None
    digests = [file.sha256 for file in files]
    return {
        **({} if limits is None else {"limits": limits.as_json()}),
        **({} if shown_rows is None else {"preview": {"rowsMax": shown_rows}}),
        **({"sha256": digests[0]} if len(files) == 1 else {"digests": digests}),
    }
