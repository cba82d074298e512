"""What takes more than one request: registering files, packing a script, waiting for a job."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from uuid import uuid4

from guildhall_client import documents
from guildhall_client.errors import Refused, UploadFailed
from guildhall_client.files import Progress, describe_files, upload_all
from guildhall_client.graphql import execute, mutate
from guildhall_client.packing import Ignore, nothing, pack_folder
from guildhall_client.steps import LocalFile, Step, Wait

JOB_ENDED_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "EXPIRED"})

Operation = Generator[Step, Any, Any]


def mutate_once(document: str, inputs: dict[str, Any]) -> Generator[Step, Any, dict[str, Any]]:
    """As `mutate`, with an idempotency key of its own, so that a retry after a lost answer does nothing twice."""
    return (yield from mutate(document, {"idempotencyKey": str(uuid4()), **inputs}))


def upload_dataset_version(
    dataset_id: str, folder: Path, details: dict[str, Any], progress: Progress
) -> Generator[Step, Any, dict[str, Any]]:
    """Create a data set version from a folder's files and upload them; returns `{id, number}`."""
    files = yield from describe_files(folder)
    inputs = {"datasetId": dataset_id, "files": [file.as_input() for file in files], **details}
    payload = yield from mutate_once(documents.CREATE_DATASET_VERSION, inputs)
    version: dict[str, Any] = payload["datasetVersion"]
    yield from _upload_and_complete(version["id"], payload["uploads"], files, progress)
    return version


def upload_model_version(
    model_id: str, folder: Path, details: dict[str, Any], progress: Progress
) -> Generator[Step, Any, dict[str, Any]]:
    """Create a version of a model that was made elsewhere and upload its files; returns `{id, number}`."""
    files = yield from describe_files(folder)
    inputs = {"modelId": model_id, "files": [file.as_input() for file in files], **details}
    payload = yield from mutate_once(documents.CREATE_MODEL_VERSION, inputs)
    version: dict[str, Any] = payload["modelVersion"]
    yield from _upload_and_complete(version["id"], payload["uploads"], files, progress)
    return version


def upload_package(
    team: str, folder: Path, progress: Progress, is_ignored: Ignore = nothing
) -> Generator[Step, Any, dict[str, Any]]:
    """Pack the folder with the training script and upload it; returns `{id, sha256}`."""
    packed = yield from pack_folder(folder, is_ignored)
    try:
        inputs = {"team": team, "sizeBytes": str(packed.size_bytes), "sha256": packed.sha256}
        payload = yield from mutate_once(documents.CREATE_PACKAGE, inputs)
        package: dict[str, Any] = payload["package"]
        yield from _upload_and_complete(package["id"], payload["uploads"], [packed], progress)
    finally:
        packed.source.unlink()
    return package


def wait_for_job(
    job_id: str, on_change: Callable[[dict[str, Any]], None], poll_seconds: float
) -> Generator[Step, Any, dict[str, Any]]:
    """Follow a job until it has ended, which settles its hold as well; `on_change` sees it after each look."""
    while True:
        data = yield from execute(documents.JOB, {"id": job_id})
        job: dict[str, Any] | None = data["node"]
        if not job:
            raise Refused("NOT_FOUND", f"there is no job {job_id} that you may see")
        on_change(job)
        if job["state"] in JOB_ENDED_STATES:
            return job
        yield Wait(poll_seconds)


def _upload_and_complete(
    owner_id: str, uploads: list[dict[str, Any]], files: list[LocalFile], progress: Progress
) -> Generator[Step, Any, None]:
    yield from upload_all(uploads, files, progress)
    payload = yield from mutate_once(documents.COMPLETE_UPLOADS, {"ownerId": owner_id})
    if payload["missing"]:
        sentences = [f"{missing['path']}: {missing['message']}" for missing in payload["missing"]]
        raise UploadFailed("; ".join(sentences))
