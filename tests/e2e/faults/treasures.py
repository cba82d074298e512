"""One thing of each kind that belongs to Works, for others to try their hands on."""

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.e2e.faults.house import House, now

LEGAL = {
    "licence": "CC-BY-4.0", "legalBasis": "made for the tests", "permittedPurposes": ["testing"],
    "regions": ["eu-local"],
}  # fmt: skip
FILE = b"seven bytes and more"
DIGEST = hashlib.sha256(FILE).hexdigest()
ANNOUNCED = [{"path": "rows.csv", "sizeBytes": str(len(FILE)), "sha256": DIGEST}]


def furnish_with_treasures(house: House, folder: Path) -> None:
    """Two data sets with versions (one not complete), a model version, a request, a grant, a quote and a job."""
    ids = house.ids
    (folder / "rows.csv").write_bytes(FILE)
    for name, visibility in (("ledger-scans", "ORGANISATION"), ("guarded-scans", "ORGANISATION"), ("hidden", "TEAM")):
        made = house.change("ada", "RegisterDataset", **{**dataset(name), "visibility": visibility})
        ids[name] = made["dataset"]["id"]
    ids["dataset"] = ids["ledger-scans"]
    ids["dataset_version"] = house.people["ada"].upload_dataset_version(ids["dataset"], folder, {})["id"]
    ids["draft"] = house.change("ada", "CreateDatasetVersion", datasetId=ids["dataset"], files=ANNOUNCED)[
        "datasetVersion"
    ]["id"]
    ids["model_version"] = house.people["ada"].upload_model_version(ids["model"], folder, {})["id"]
    asked = {"purpose": "testing", "justification": "the tests", "durationSeconds": 3600}
    request = house.change(
        "audrey",
        "RequestAccess",
        resourceIds=[ids["ledger-scans"]],
        beneficiary={"email": "audrey@guildhall.example"},
        **asked,
    )
    decided = house.change(
        "stella", "DecideAccess", accessRequestId=request["accessRequest"]["id"], decision="APPROVE", reason="fine"
    )
    ids["grant"] = decided["accessGrant"]["id"]
    waiting = house.change(
        "oli", "RequestAccess", resourceIds=[ids["guarded-scans"]], beneficiary={"team": "others"}, **asked
    )
    ids["request"] = waiting["accessRequest"]["id"]
    ids["quote"] = house.quote(**house.job("succeed"))
    ids["job"] = house.submit("succeed")
    house.wait_for(ids["job"], "SUCCEEDED")
    house.assert_nothing_left(ids["job"])


def dataset(name: str) -> dict[str, Any]:
    """A data set of Works that others may find, and read by grant only."""
    return {
        "team": "works", "name": name, "description": "Scans.", "visibility": "ORGANISATION",
        "classification": "CONFIDENTIAL", "legal": LEGAL, "stewards": ["stella@guildhall.example"],
    }  # fmt: skip


def inputs_on_works(house: House) -> dict[str, dict[str, Any]]:
    """For each mutation of the contract an input that would change something of Works, if its members gave it."""
    ids = house.ids
    at = now()
    return {
        "ApplyConfiguration": {"teams": [{"name": "works", "title": "Taken over"}]},
        "AllocateCredits": {
            "team": "works", "programme": "trials", "credits": "1", "validFrom": at.isoformat(),
            "validTo": (at + timedelta(days=1)).isoformat(), "reason": "why not",
        },
        "RegisterDataset": dataset("planted"),
        "CreateDatasetVersion": {"datasetId": ids["dataset"], "files": ANNOUNCED},
        "CompleteUploads": {"ownerId": ids["draft"]},
        "RegisterModel": {
            "team": "works", "name": "planted", "task": "testing", "description": "x", "visibility": "ORGANISATION",
            "riskTier": "LOW",
        },
        "CreateModelVersion": {
            "modelId": ids["model"], "files": ANNOUNCED, "metrics": [{"name": "accuracy", "value": 0.5}],
            "parameters": {},
        },
        "UpdateCard": {"modelVersionId": ids["model_version"], "sections": [{"name": "Limitations", "body": "none"}]},
        "PublishModelVersion": {"modelVersionId": ids["model_version"]},
        "SetAlias": {
            "modelId": ids["model"], "name": "champion", "modelVersionId": ids["model_version"], "reason": "mine",
        },
        "RecordLesson": {"subjectId": ids["job"], "summary": "It is bad", "body": "", "outcome": "FAILED"},
        "AdoptModel": {"modelVersionId": ids["model_version"], "team": "works", "purpose": "testing"},
        "CreatePackage": {"team": "works", "sizeBytes": str(len(FILE)), "sha256": DIGEST},
        "RequestQuote": {
            "team": "works", "programme": "trials",
            "job": house.job(
                "succeed", environment=[{"name": "WORD", "value": "x"}], pools=["bench"],
                inputs=[{
                    "source": {"datasetVersionId": ids["dataset_version"]}, "mountPath": "data", "purpose": "testing",
                }],
            ),
        },
        "AcceptQuote": {"quoteId": ids["quote"]},
        "CancelJob": {"jobId": ids["job"], "reason": "not mine"},
        "RequestAccess": {
            "resourceIds": [ids["hidden"]], "beneficiary": {"team": "others"}, "purpose": "testing",
            "justification": "for them", "durationSeconds": 3600,
        },
        "DecideAccess": {"accessRequestId": ids["request"], "decision": "APPROVE", "reason": "for myself"},
        "WithdrawAccess": {"accessGrantId": ids["grant"], "reason": "not mine either"},
    }  # fmt: skip


def fingerprint(house: House) -> dict[str, str]:
    """A digest of every table's rows, but for what was tried, and the scheduler's and tokens' notes."""
    names = house.book.rows(
        "SELECT relname AS tablename FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
        "AND relkind IN ('r', 'p') AND NOT relispartition "
        "AND relname NOT IN ('tokens', 'clusters', 'outbox', 'failed_sign_ins', 'alembic_version') "
        "AND relname NOT LIKE 'audit\\_%' "
        "ORDER BY 1"
    )
    each = [
        f"SELECT '{name}' AS name, md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) AS digest "
        f'FROM "{name}" AS t'
        for name in (row["tablename"] for row in names)
    ]
    return {row["name"]: row["digest"] for row in house.book.rows(" UNION ALL ".join(each))}
