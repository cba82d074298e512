"""A job's access to its data is withdrawn while it trains: its last checkpoint is kept, and it pays for what it ran.

The runner, the API and the worker are real, on this machine and in pods of a cluster.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import httpx
import pytest

from guildhall.graphql.ids import decode_id, encode_id
from tests.cluster.handle import RealCluster
from tests.e2e.faults.conftest import place_on
from tests.e2e.faults.house import House
from tests.e2e.faults.processes import running, tail, until
from tests.e2e.faults.treasures import FILE, dataset

GRACE_SECONDS = 120
"""What a loaded machine may take to write, register and send a small file; nothing waits for its end."""
PATIENCE_SECONDS = 240
CHECKPOINT = b"learned from " + FILE


@pytest.fixture(scope="module")
def school(
    ground_database: dict[str, str], ground: RealCluster | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """An API and a worker, with guarded data that the team may read."""
    settings = {**ground_database, "GUILDHALL_RUNNER_GRACE_SECONDS": str(GRACE_SECONDS)}
    with ExitStack() as stack:
        house = place_on(ground, tmp_path_factory.mktemp("school"), settings, stack)
        stack.enter_context(running(house.site, "api"))
        stack.enter_context(running(house.site, "worker"))
        house.furnish()
        until(
            lambda: house.book.rows("SELECT 1 FROM pools WHERE slots > 0"), "slots are counted",
            seconds=PATIENCE_SECONDS,
        )  # fmt: skip
        folder = tmp_path_factory.mktemp("rows")
        (folder / "rows.csv").write_bytes(FILE)
        house.ids["dataset"] = house.change("ada", "RegisterDataset", **dataset("lessons"))["dataset"]["id"]
        house.ids["version"] = house.people["ada"].upload_dataset_version(house.ids["dataset"], folder, {})["id"]
        yield house


def withdraw_all(house: House) -> None:
    """Every grant to the data, by its steward."""
    for row in house.book.rows("SELECT id FROM access_grants WHERE withdrawn_at IS NULL"):
        grant_id = encode_id("AccessGrant", row["id"])
        house.change("stella", "WithdrawAccess", accessGrantId=grant_id, reason="The pupils want it back.")


def approve_again(house: House, version_id: str) -> None:
    """Access to the model version for Ada, asked for and decided anew."""
    asked = house.change(
        "ada", "RequestAccess", resourceIds=[version_id], beneficiary={"email": "ada@guildhall.example"},
        purpose="testing", justification="We look at what it learned.", durationSeconds=3600,
    )  # fmt: skip
    request_id = asked["accessRequest"]["id"]
    house.change("stella", "DecideAccess", accessRequestId=request_id, decision="APPROVE", reason="It may be looked at")


def fetched(house: House, artifact_id: UUID) -> httpx.Response:
    headers = {"Authorization": f"Bearer {house.tokens['ada']}"}
    return house.http.get(f"{house.site.url}/artifacts/{artifact_id}", headers=headers)


def test_is_kept_guarded_and_paid_for(school: House) -> None:
    source = {"datasetVersionId": school.ids["version"]}
    inputs = [{"source": source, "mountPath": "data", "purpose": "testing"}]
    job_id = school.submit("take-checkpoints", inputs=inputs, walltimeSeconds=1800)
    school.wait_for(job_id, "RUNNING", seconds=PATIENCE_SECONDS)
    until(lambda: "ready to be stopped" in said(school, job_id), "the script trains", seconds=PATIENCE_SECONDS)
    withdraw_all(school)
    page = school.wait_for(job_id, "FAILED", seconds=PATIENCE_SECONDS)
    assert page["stateReason"]["code"] == "ACCESS_ENDED"
    assert [output["modelVersion"]["number"] for output in page["outputs"]] == [1], tail(school.site)
    version_id = page["outputs"][0]["modelVersion"]["id"]
    key = decode_id(version_id, "ModelVersion")
    (version,) = school.book.rows(f"SELECT effective_classification, ready_at FROM model_versions WHERE id = '{key}'")
    assert version["effective_classification"] == "CONFIDENTIAL"
    assert version["ready_at"] is not None
    (file,) = school.book.rows(f"SELECT id, path, state FROM artifacts WHERE owner_id = '{key}'")
    assert (file["path"], file["state"]) == ("model.bin", "STORED")
    refused = fetched(school, file["id"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "ACCESS_REFUSED")
    approve_again(school, version_id)
    assert fetched(school, file["id"]).content == CHECKPOINT
    school.assert_charged_once(job_id)
    school.assert_nothing_left(job_id)
    school.assert_books_balance()


def said(house: House, job_id: str) -> str:
    """The end of its log."""
    tail_of_log: Any = house.page(job_id)["logTail"]
    return str(tail_of_log)
