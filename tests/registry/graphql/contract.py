"""The documents of the contract, and short ways to send the ones about data."""

import re
from pathlib import Path
from typing import Any
from uuid import UUID

from guildhall.clock import new_id
from guildhall.graphql.ids import split_id
from registry.artifacts.growing import Growths
from registry.artifacts.receiving import find_upload, receive_part
from tests.registry.asking import Asking
from tests.registry.estate import chunked, digest

CONTENT = b"pixels,digit\n0,1\n"
LEGAL = {
    "licence": "CC-BY-4.0",
    "legalBasis": "contract",
    "permittedPurposes": ["quality", "research"],
    "retentionEndsOn": "2030-12-31",
    "regions": ["eu"],
}
DATASET = {
    "team": "maintenance",
    "name": "gauge-digits",
    "description": "Dials.",
    "visibility": "ORGANISATION",
    "classification": "CONFIDENTIAL",
    "legal": LEGAL,
    "stewards": ["mia@example.org"],
}


def documents() -> dict[str, str]:
    """The repository's copy of the contract, by name."""
    text = (Path(__file__).parents[2] / "documents" / "DOCUMENTS.graphql").read_text(encoding="utf-8")
    parts = re.split(r"^(?=query |mutation |subscription )", text, flags=re.MULTILINE)
    return {re.split(r"\W", part.split(maxsplit=1)[1])[0]: part for part in parts[1:]}


DOCUMENTS = documents()


async def mutate(ask: Asking, who: str, document: str, /, **given: Any) -> Any:
    """The payload of one of the documents."""
    (payload,) = (await ask(who, DOCUMENTS[document], input=given)).values()
    return payload


async def register(ask: Asking, **given: Any) -> str:
    payload = await mutate(ask, "anna", "RegisterDataset", **{**DATASET, **given})
    assert payload["errors"] == []
    return str(payload["dataset"]["id"])


VERSION: dict[str, Any] = {
    "files": [{"path": "data.csv", "sizeBytes": len(CONTENT), "sha256": digest(CONTENT)}],
    "columns": [{"name": "pixels", "type": "uint8", "unit": "grey", "personal": False}],
    "rows": 1797,
}


async def create_version(ask: Asking, dataset_id: str, **given: Any) -> Any:
    return await mutate(ask, "anna", "CreateDatasetVersion", **{"datasetId": dataset_id, **VERSION, **given})


async def send(ask: Asking, upload: Any, content: bytes) -> None:
    """What PUT on the upload's address does."""
    async with ask.database.read() as session:
        file = await find_upload(session, UUID(upload["url"].rpartition("/")[2]))
    await receive_part(
        ask.database,
        ask.store,
        Growths(ask.store),
        file=file,
        number=1,
        chunks=chunked(content),
        part_bytes_max=upload["partSizeBytes"],
        clock=ask.clock,
        new_id=new_id,
    )


def key(global_id: str) -> UUID:
    found = split_id(global_id)
    assert found is not None
    return found[1]
