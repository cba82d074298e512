"""The server as it is, but that nothing is recorded, to measure beside: `python -m benchmarks.audit.unrecorded api`."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, Uuid, cast, null
from sqlalchemy.ext.asyncio import AsyncSession

import guildhall.audit.record as recording_events
import guildhall.graphql.recording as recording_reads
import registry.access.announcing as announcing_reads
from guildhall.audit.outcomes import Conclusions
from guildhall.cli.main import main


async def _nothing(_session: AsyncSession, _events: Sequence[Mapping[str, Any]]) -> None:
    """Instead of the INSERT."""


async def _no_outcome(_conclusions: Conclusions, _outcome: Mapping[str, Any]) -> None:
    """Instead of the second event of a download."""


def unrecord() -> None:
    """Take the writing of events away."""
    operand = property(lambda _: cast(null(), ARRAY(Uuid(as_uuid=True))))
    for place, name, instead in (
        (recording_events, "add_events", _nothing),
        (announcing_reads, "add_events", _nothing),
        (Conclusions, "add", _no_outcome),
        (recording_reads.Recorded, "operand", operand),
    ):
        assert hasattr(place, name), f"{name} has moved: this measures nothing"
        setattr(place, name, instead)


if __name__ == "__main__":
    unrecord()
    sys.exit(main())
