"""Checking an export without a database: every line a leaf, every leaf a line, under all of its heads."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from guildhall.audit.checkpoints import NotACheckpoint, Verifier, open_head
from guildhall.audit.mac import AuditKeys
from guildhall.audit.merkle import Edge, leaf_hash
from guildhall.audit.verifying import Heads, Verification, check_code
from guildhall.errors import Invalid


class NoExport(Invalid):
    """A folder that is not what `verify-audit --export` writes."""

    code = "NO_EXPORT"


def verify_export(folder: Path, keys: AuditKeys | None, verifiers: Sequence[Verifier]) -> Verification:
    """Check the lines against the heads, and where there are audit keys each line's code. Raises NoExport."""
    found = Verification()
    edge = Edge()
    try:
        note = (folder / "checkpoint").read_text(encoding="utf-8")
        heads = Heads(found, verifiers, [note, *(path.read_text("utf-8") for path in sorted(folder.glob("heads/*")))])
        heads.pass_size(edge)
        for line in _lines(folder / "events.jsonl"):
            edge.append(leaf_hash(hashlib.sha256(line).digest()))
            heads.pass_size(edge)
            if keys is not None:
                check_code(found, keys, parsed_line(line))
    except OSError as error:
        raise NoExport(f"{folder} is no export of the audit record: {error.strerror}.") from error
    heads.end(edge)
    try:
        if edge.size > open_head(note, verifiers).size:
            found.find("There are more lines than the signed head has leaves.")
    except NotACheckpoint:
        pass  # the heads have told
    found.sealed = edge.size
    return found


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n")


def parsed_line(line: bytes) -> dict[str, Any]:
    """An event as an export and an archive write it. Raises NoExport."""
    try:
        event = json.loads(line)
        return {**event, "mac": bytes.fromhex(event["mac"]), "mac_key": event["mac_key"], "id": event["id"]}
    except (ValueError, KeyError, TypeError) as error:
        raise NoExport(f"A line of events.jsonl is no event: {line[:80]!r}.") from error
