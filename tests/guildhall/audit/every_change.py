"""Every mutation there is, once with input that is carried out, in an order in which each finds what it needs."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

NOTHING = hashlib.sha256(b"").hexdigest()
SECTIONS = ("Intended use", "Limitations", "Training data", "Evaluation", "Metrics")
LEGAL = {
    "licence": "CC0",
    "legalBasis": "contract",
    "permittedPurposes": ["defect-detection"],
    "regions": ["eu-local"],
}
Given = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """The moment, and ids: of what the world has, and of what the changes before made, by the mutation's name."""

    at: datetime
    ids: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.ids.get(name, "NONE")

    def after(self, days: int) -> str:
        return (self.at + timedelta(days=days)).isoformat()


@dataclass(frozen=True)
class Change:
    """One mutation: its input, what its event says (permission and type of resource), and what is kept of its answer.

    Where `about` is empty, what was changed has no id; then the event says what it is like since. `made` is a field of
    the payload that has an id. Root does it, unless it takes somebody else.
    """

    mutation: str
    action: str
    about: str
    given: Callable[[Known], Given]
    made: str = ""
    who: str = "root"


def _model_version(known: Known) -> Given:
    sources = [{"kind": "TRAINED_ON", "nodeId": known["createDatasetVersion"]}]
    return {"modelId": known["registerModel"], "files": [_file("model.bin")], "sources": sources}


def _file(path: str) -> Given:
    """A file of no bytes is there as soon as it is announced."""
    return {"path": path, "sizeBytes": "0", "sha256": NOTHING}


def _job(known: Known) -> Given:
    job = {
        "name": "wait",
        "command": ["python", "wait.py"],
        "source": {"packageId": known["Package"]},
        "perNode": {"accelerator": "sim-a10", "acceleratorCount": 1},
        "walltimeSeconds": 300,
    }
    return {"team": "maintenance", "programme": "zero-defects", "job": job}


DATA = (
    Change(
        "registerDataset", "registry:dataset:register", "Dataset",
        lambda _: {
            "team": "maintenance", "name": "welds", "description": "Welds.", "classification": "CONFIDENTIAL",
            "legal": LEGAL, "stewards": ["root@example.org", "second@example.org"],
        },
        made="dataset",
    ),
    Change(
        "createDatasetVersion", "registry:dataset:add-version", "Dataset",
        lambda known: {"datasetId": known["registerDataset"], "files": [_file("welds.csv")]}, made="datasetVersion",
    ),
    Change(
        "completeUploads", "registry:dataset:add-version", "Dataset",
        lambda known: {"ownerId": known["createDatasetVersion"]},
    ),
    Change(
        "updateLegalRecord", "registry:dataset:steward", "Dataset",
        lambda known: {"datasetId": known["registerDataset"], "legal": {**LEGAL, "consent": "given"}},
    ),
    Change(
        "setReadBudget", "registry:dataset:steward", "Dataset",
        lambda known: {
            "datasetId": known["registerDataset"], "scope": "PERSON", "windowSeconds": 3600, "action": "WARN",
            "rowsMax": "10",
        },
    ),
    Change(
        "removeReadBudget", "registry:dataset:steward", "Dataset",
        lambda known: {"datasetId": known["registerDataset"], "scope": "PERSON"},
    ),
    Change(
        "setWithdrawalPolicy", "registry:dataset:steward", "Dataset",
        lambda known: {"datasetId": known["registerDataset"], "policy": "STOP"},
    ),
    Change(
        "acknowledgeAccessAlert", "registry:alert:acknowledge", "AccessAlert",
        lambda known: {"accessAlertId": known["AccessAlert"], "note": "A nightly run."},
    ),
    Change(
        "requestAccess", "registry:access:request", "DatasetVersion",
        lambda known: {
            "resourceIds": [known["createDatasetVersion"]], "beneficiary": {"team": "quality"},
            "purpose": "defect-detection", "justification": "To train.", "durationSeconds": 3600,
        },
        made="accessRequest",
    ),
    Change(
        "decideAccess", "registry:access:decide", "DatasetVersion",
        lambda known: {"accessRequestId": known["requestAccess"], "decision": "APPROVE"},
        made="accessGrant", who="second",
    ),
    Change(
        "withdrawAccess", "registry:access:withdraw", "DatasetVersion",
        lambda known: {"accessGrantId": known["decideAccess"], "reason": "Over."}, who="second",
    ),
    Change(
        "nameRiskReviewers", "registry:reviewer:name", "",
        lambda _: {"riskTier": "HIGH", "subject": "ETHICS", "people": ["second@example.org"]},
    ),
)  # fmt: skip

MODELS = (
    Change(
        "registerModel", "registry:model:register", "Model",
        lambda _: {
            "team": "maintenance", "name": "weld-reader", "task": "digits", "description": "Reads.", "riskTier": "LOW",
        },
        made="model",
    ),
    Change("createModelVersion", "registry:model:add-version", "Model", _model_version, made="modelVersion"),
    Change(
        "abandonModelVersion", "registry:model:publish", "ModelVersion",
        lambda known: {"modelVersionId": known["createModelVersion"], "reason": "It learned nothing."},
    ),
    Change("createModelVersion", "registry:model:add-version", "Model", _model_version, made="modelVersion"),
    Change(
        "completeUploads", "registry:model:add-version", "Model",
        lambda known: {"ownerId": known["createModelVersion"]},
    ),
    Change(
        "updateCard", "registry:model:describe", "ModelVersion",
        lambda known: {
            "modelVersionId": known["createModelVersion"],
            "sections": [{"name": name, "body": f"All about {name}."} for name in SECTIONS],
            "dataNeeds": {"features": [{"name": "seam", "type": "float"}]},
        },
    ),
    Change(
        "publishModelVersion", "registry:model:publish", "ModelVersion",
        lambda known: {"modelVersionId": known["createModelVersion"]},
    ),
    Change(
        "withdrawPublication", "registry:model:publish", "ModelVersion",
        lambda known: {"modelVersionId": known["createModelVersion"], "reason": "Too early."},
    ),
    Change(
        "publishModelVersion", "registry:model:publish", "ModelVersion",
        lambda known: {"modelVersionId": known["createModelVersion"]},
    ),
    Change(
        "setAlias", "registry:model:alias", "Model",
        lambda known: {
            "modelId": known["registerModel"], "name": "champion", "modelVersionId": known["createModelVersion"],
            "reason": "The first.",
        },
    ),
    Change(
        "adoptModel", "registry:model:adopt", "ModelVersion",
        lambda known: {
            "modelVersionId": known["createModelVersion"], "team": "quality", "purpose": "defect-detection",
        },
        made="adoption",
    ),
    Change(
        "endAdoption", "registry:model:adopt", "Adoption",
        lambda known: {"adoptionId": known["adoptModel"]},
    ),
    Change(
        "askLoosening", "registry:restriction:loosen", "ModelVersion",
        lambda known: {
            "modelVersionId": known["createModelVersion"], "to": {"classification": "INTERNAL"},
            "justification": "Only sums are left.",
        },
        made="loosening",
    ),
    Change(
        "decideLoosening", "registry:restriction:decide", "ModelVersion",
        lambda known: {"looseningId": known["askLoosening"], "decision": "APPROVE"}, who="second",
    ),
    Change(
        "withdrawLoosening", "registry:restriction:decide", "ModelVersion",
        lambda known: {"looseningId": known["askLoosening"], "reason": "It can be undone."}, who="second",
    ),
    Change(
        "recordLesson", "registry:lesson:record", "ModelVersion",
        lambda known: {"subjectId": known["createModelVersion"], "summary": "Glare hurts.", "outcome": "MIXED"},
    ),
    Change(
        "createPackage", "registry:package:create", "Package",
        lambda _: {"team": "maintenance", "sizeBytes": "3", "sha256": NOTHING},
    ),
)  # fmt: skip

MARKET = (
    Change(
        "allocateCredits", "marketplace:credits:allocate", "Allocation",
        lambda known: {
            "team": "maintenance", "programme": "zero-defects", "credits": "10", "validFrom": known.after(0),
            "validTo": known.after(30), "reason": "Decided.",
        },
        made="allocation",
    ),
    Change(
        "sendCredits", "marketplace:credits:send", "Allocation",
        lambda known: {
            "allocationId": known["allocateCredits"], "toTeam": "quality", "credits": "1", "reason": "Lent.",
        },
    ),
    Change(
        "returnCredits", "marketplace:credits:send", "Allocation",
        lambda known: {"allocationId": known["allocateCredits"], "credits": "1", "reason": "Left over."},
    ),
    Change(
        "refundCharge", "marketplace:credits:refund", "Job",
        lambda known: {"jobId": known["Job"], "credits": "0.000001", "reason": "A dead disk."},
    ),
    Change("requestQuote", "marketplace:quote:request", "Quote", _job, made="quote"),
    Change(
        "acceptQuote", "scheduler:job:submit", "Job",
        lambda known: {"quoteId": known["requestQuote"]}, made="job",
    ),
    Change(
        "cancelJob", "scheduler:job:cancel", "Job",
        lambda known: {"jobId": known["acceptQuote"], "reason": "Not needed."},
    ),
    Change(
        "registerCluster", "scheduler:cluster:register", "Cluster",
        lambda _: {"name": "gpu-eu", "region": "eu", "kubeconfig": "kind: Config"}, made="cluster",
    ),
    Change(
        "updateClusterCredentials", "scheduler:cluster:register", "Cluster",
        lambda known: {"clusterId": known["registerCluster"], "kubeconfig": "kind: Config  # another"},
    ),
    Change(
        "updateCluster", "scheduler:cluster:register", "Cluster",
        lambda known: {"clusterId": known["registerCluster"], "requestsPerSecond": 7},
    ),
    Change(
        "unregisterCluster", "scheduler:cluster:register", "Cluster",
        lambda known: {"clusterId": known["registerCluster"]},
    ),
)  # fmt: skip

INBOX = (
    Change(
        "registerWebhook", "guildhall:webhook:change", "Webhook",
        lambda _: {"label": "Pager", "url": "http://127.0.0.1:9/", "kinds": ["JOB_ENDED"]}, made="webhook",
    ),
    Change(
        "updateWebhook", "guildhall:webhook:change", "Webhook",
        lambda known: {
            "webhookId": known["registerWebhook"], "label": "Bell", "url": "http://127.0.0.1:9/",
            "kinds": ["JOB_ENDED"],
        },
    ),
    Change(
        "rotateWebhookSecret", "guildhall:webhook:change", "Webhook",
        lambda known: {"webhookId": known["registerWebhook"]},
    ),
    Change(
        "pauseWebhook", "guildhall:webhook:change", "Webhook", lambda known: {"webhookId": known["registerWebhook"]}
    ),
    Change(
        "resumeWebhook", "guildhall:webhook:change", "Webhook", lambda known: {"webhookId": known["registerWebhook"]}
    ),
    Change(
        "testWebhook", "guildhall:webhook:change", "Webhook",
        lambda known: {"webhookId": known["registerWebhook"]}, made="delivery",
    ),
    Change(
        "redeliver", "guildhall:webhook:change", "Delivery", lambda known: {"deliveryId": known["testWebhook"]}
    ),
    Change(
        "deleteWebhook", "guildhall:webhook:change", "Webhook", lambda known: {"webhookId": known["registerWebhook"]}
    ),
    Change("updateInboxSettings", "guildhall:inbox:change", "User", lambda _: {"mail": "NONE"}),
    Change(
        "markNotificationsRead", "guildhall:notification:mark", "Notification",
        lambda known: {"ids": [known["Notification"]]}, who="somebody-0",
    ),
    Change(
        "markNotificationsUnread", "guildhall:notification:mark", "Notification",
        lambda known: {"ids": [known["Notification"]]}, who="somebody-0",
    ),
)  # fmt: skip

HOUSE = (
    Change(
        "issueToken", "guildhall:token:issue", "Token",
        lambda _: {"label": "mine", "durationSeconds": 3600}, made="token",
    ),
    Change(
        "rotateToken", "guildhall:token:issue", "Token",
        lambda known: {"tokenId": known["issueToken"], "durationSeconds": 3600}, made="token",
    ),
    Change("revokeToken", "guildhall:token:revoke", "Token", lambda known: {"tokenId": known["rotateToken"]}),
    Change("endSession", "guildhall:token:revoke", "Token", lambda known: {"sessionId": known["Session"]}),
    Change(
        "setGroupMapping", "guildhall:group:map", "GroupMapping",
        lambda _: {"group": "smiths", "role": "viewer", "team": "quality"}, made="groupMapping",
    ),
    Change(
        "removeGroupMapping", "guildhall:group:map", "GroupMapping",
        lambda known: {"groupMappingId": known["setGroupMapping"]},
    ),
    Change(
        "applyConfiguration", "guildhall:configuration:apply", "",
        lambda _: {"purposes": [{"name": "quality-control", "description": "Look closely."}]},
    ),
    Change(
        "createRole", "guildhall:role:change", "",
        lambda _: {"name": "librarian", "sentence": "Looks things up."},
    ),
    Change(
        "setRoleLine", "guildhall:role:change", "",
        lambda _: {"role": "librarian", "permission": "registry:model:discover", "effect": "ALLOW"},
    ),
    Change(
        "giveRole", "guildhall:role:bind", "User",
        lambda _: {"role": "librarian", "email": "member@example.org", "team": "quality"}, made="roleBinding",
    ),
    Change("takeRoleAway", "guildhall:role:bind", "User", lambda known: {"roleBindingId": known["giveRole"]}),
    Change(
        "takeEmergencyRole", "guildhall:role:take", "User",
        lambda _: {"role": "viewer", "reason": "The press burns.", "durationSeconds": 600}, made="emergencyRole",
        who="on-call-everywhere",
    ),
    Change(
        "reviewEmergencyRole", "guildhall:emergency:review", "User",
        lambda known: {"emergencyRoleId": known["takeEmergencyRole"], "review": "It did burn, and was put out."},
        who="second",
    ),
    Change(
        "moveTeam", "guildhall:team:change", "Team", lambda _: {"team": "scattered-2", "parent": "quality"}
    ),
    Change(
        "deactivateServiceAccount", "guildhall:service-account:change", "ServiceAccount",
        lambda _: {"serviceAccount": {"team": "maintenance", "name": "program"}},
    ),
    Change(
        "deactivatePerson", "guildhall:user:change", "User",
        lambda known: {"userId": known["leaver"], "reason": "Left.", "successor": "second@example.org"},
    ),
    Change(
        "erasePersonalValues", "guildhall:audit:erase", "User", lambda known: {"userId": known["leaver"]},
    ),
)  # fmt: skip

CHANGES = (*DATA, *MODELS, *MARKET, *INBOX, *HOUSE)
