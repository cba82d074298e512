"""Many events in an export made by the product's own functions, for a program that is not ours to check."""

import asyncio
import hashlib
import re
from pathlib import Path
from uuid import UUID

from guildhall.audit.checkpoints import Head, Signer, sign_head
from guildhall.audit.mac import AuditKey, compute_mac, line_of
from guildhall.audit.merkle import TILE_HASHES, Edge, leaf_hash, tile_path
from guildhall.audit.record import compose_event
from guildhall.auth.actor import system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import SystemClock, new_id
from tests.independent.programs import built_programs

SIGNER = Signer("guildhall.example/audit", b"s" * 32)
KEY = AuditKey(b"k" * 32)


def write_export(folder: Path, size: int) -> None:
    """Lines, tiles and head of that many events; each line is its own, as its id and its code are."""
    composed = compose_event(
        system_actor("benchmark"), action="registry:dataset:read", resources=[ResourceRef("Dataset", UUID(int=1))],
        purpose="quality", at=SystemClock().now(), new_id=new_id,
    )  # fmt: skip
    row = {name: value for name, value in composed.items() if name != "personal"} | {"mac_key": KEY.name}
    before, after = line_of({**row, "mac": compute_mac(KEY, row)}).split(row["id"].hex.encode())
    edge = Edge()
    tiles: dict[tuple[int, int], bytes] = {}
    (folder / "heads").mkdir(parents=True)
    with (folder / "events.jsonl").open("wb") as file:
        for number in range(size):
            line = before + UUID(int=number).hex.encode() + after
            file.write(line + b"\n")
            tiles |= edge.append(leaf_hash(hashlib.sha256(line).digest()))
    for (level, number), hashes in (tiles | edge.growing()).items():
        path = folder / tile_path(level, number, len(hashes) // 32 if len(hashes) < TILE_HASHES * 32 else TILE_HASHES)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashes)
    (folder / "checkpoint").write_text(sign_head(Head(SIGNER.origin, size, edge.root()), [SIGNER]))


async def verified_rate(folder: Path) -> float:
    """Events a second, as the program itself counts: reading, hashing, and the tree."""
    process = await asyncio.create_subprocess_exec(
        str(built_programs().verify), str(folder), SIGNER.verifier.text, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    found = re.search(rb"(\d+) events/s", output)
    assert process.returncode == 0, output
    assert found is not None
    return float(found[1])
