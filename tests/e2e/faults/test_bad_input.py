"""Input that cannot be: each gives one clear sentence with a code, changes nothing, and is never a fault of ours."""

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from guildhall.graphql.ids import encode_id
from tests.e2e.faults.house import House, Told
from tests.e2e.faults.treasures import ANNOUNCED, DIGEST, fingerprint, inputs_on_works

LONG = "x" * 10_000
NUL = "a\0b"
LONE_SURROGATE = "a\ud800b"
NOWHERE = UUID("01900000-0000-7000-8000-00000000dead")
NO_IDS = (encode_id("Pool", NOWHERE), "", "nonsense", LONG, NUL)
DIRECTLY = {
    "AllocateCredits": "alma",
    "ApplyConfiguration": "pat",
    "DecideAccess": "stella",
    "WithdrawAccess": "stella",
}
"""Who may do what maintainers may not."""


BAD_VALUE = "BAD_USER_INPUT"
"""What is no value of the type at all; the message says at which place of the input."""


@dataclass(frozen=True)
class Bad:
    """A good input of a mutation but for one place, values that cannot stand there, and what is said about each."""

    operation: str
    path: str
    code: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.operation}-{self.path}-{self.code}"

    @property
    def field(self) -> str:
        """The path as errors name it."""
        return re.sub(r"\.(\d+)", r"[\1]", self.path)

    def inputs(self, treasury: House, value: Any) -> dict[str, Any]:
        """The input with the bad value."""
        given: Any = deepcopy(inputs_on_works(treasury)[self.operation])
        *parents, last = (int(step) if step.isdigit() else step for step in self.path.split("."))
        place = given
        for step in parents:
            place = place[step]
        if isinstance(last, int) and last == len(place):
            place.append(value)
        else:
            place[last] = value
        return dict(given)


def assert_told_well(told: Told) -> None:
    """A sentence each, and no fault of ours."""
    assert told.status < 500, told
    assert told.problems, "it was taken"
    for problem in told.problems:
        assert problem["code"] != "INTERNAL_ERROR", problem
        assert problem["message"].strip()
        assert "Traceback" not in problem["message"]
        assert len(problem["message"]) <= 1_000


CREDITS = [
    Bad("AllocateCredits", "credits", "CREDITS_OUT_OF_RANGE", ("-1", "0", "1000000000001")),
    Bad(
        "AllocateCredits",
        "credits",
        BAD_VALUE,
        ("99999999999999", "9" * 400, "1.0000001", "1e3", "NaN", "Infinity", "", "١٢", LONG, NUL, 12, 12.5, None),
    ),
]
TIMES = [
    Bad("AllocateCredits", "validTo", "TIMES_INVALID", ("2001-01-01T00:00:00Z",)),
    Bad(
        "AllocateCredits",
        "validTo",
        BAD_VALUE,
        ("tomorrow", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00", 0, NUL),
    ),
    Bad("RequestQuote", "job.startBy", "START_BY_PAST", ("2001-01-01T00:00:00Z",)),
    Bad("RequestQuote", "job.startBy", "START_BY_TOO_FAR", ("9000-12-31T23:59:59Z",)),
    Bad("RegisterDataset", "legal.retentionEndsOn", "RETENTION_OVER", ("2001-01-01",)),
    Bad("RegisterDataset", "legal.retentionEndsOn", BAD_VALUE, ("31.12.2030", "2030-02-31")),
    Bad("RequestAccess", "durationSeconds", "INVALID_DURATION", (0, -1, 2**31 - 1)),
    Bad("RequestAccess", "durationSeconds", BAD_VALUE, (2**40, "3600", 0.5)),
]
JOBS = [
    Bad("RequestQuote", "job.walltimeSeconds", "WALLTIME_OUT_OF_RANGE", (0, -1, 2**31 - 1)),
    Bad("RequestQuote", "job.walltimeSeconds", BAD_VALUE, (2**63,)),
    Bad("RequestQuote", "job.walltimeSeconds", "WALLTIME_TOO_LONG", (3601,)),
    Bad("RequestQuote", "job.perNode.acceleratorCount", "INVALID_INPUT", (0, -3, 65)),
    Bad("RequestQuote", "job.perNode.acceleratorCount", "TOO_FEW", (9,)),
    Bad("RequestQuote", "job.perNode.accelerator", "UNKNOWN_ACCELERATOR", ("warp-drive", NUL)),
    Bad("RequestQuote", "job.perNode.cpu", "INVALID_INPUT", (-1, 0, 1e9)),
    Bad("RequestQuote", "job.perNode.memoryBytes", "INVALID_INPUT", ("0", "-1", str(2**62))),
    Bad("RequestQuote", "job.perNode.memoryBytes", BAD_VALUE, ("9" * 19, "9" * 30, "many")),
    Bad("RequestQuote", "job.nodes", "INVALID_INPUT", (0, 2**31 - 1)),
    Bad("RequestQuote", "job.pools.0", "UNKNOWN_POOL", ("nowhere", "", LONG)),
    Bad("RequestQuote", "job.tier", BAD_VALUE, ("FREE",)),
    Bad("RequestQuote", "programme", "NOT_FOUND", ("nowhere", "", LONG)),
    Bad("RequestQuote", "team", "NOT_FOUND", ("nowhere", "", LONG)),
    Bad("RequestQuote", "job.command", "INVALID_INPUT", ([],)),
    Bad("RequestQuote", "job.command.1", "INVALID_INPUT", (NUL, LONG)),
    Bad("RequestQuote", "job.environment.0.name", "INVALID_INPUT", ("A=B", "", "1A", "GUILDHALL_TOKEN_FILE", NUL)),
    Bad("RequestQuote", "job.environment.0.value", "INVALID_INPUT", (NUL, LONG * 10)),
    Bad("RequestQuote", "job.output.path", "INVALID_INPUT", ("../../etc", "", ".guildhall", NUL)),
    Bad("RequestQuote", "job.source", BAD_VALUE, ({}, {"packageId": "x", "image": "y"})),
]
TEXTS = [
    Bad(operation, path, code, ("", LONG, NUL))
    for operation, path, code in (
        ("RegisterModel", "name", "INVALID_SLUG"),
        ("RegisterModel", "task", "INVALID_TEXT"),
        ("RegisterDataset", "name", "INVALID_SLUG"),
        ("RequestQuote", "job.name", "INVALID_INPUT"),
        ("CreateDatasetVersion", "files.0.path", "INVALID_PATH"),
        ("SetAlias", "name", "INVALID_SLUG"),
        ("ApplyConfiguration", "teams.0.name", "INVALID_SLUG"),
        ("ApplyConfiguration", "teams.0.title", "INVALID_TEXT"),
        ("RecordLesson", "summary", "INVALID_TEXT"),
        ("RequestAccess", "justification", "INVALID_TEXT"),
        ("AllocateCredits", "reason", "REASON_MISSING"),
        ("CancelJob", "reason", "REASON_MISSING"),
        ("WithdrawAccess", "reason", "INVALID_TEXT"),
        ("UpdateCard", "sections.0.name", "INVALID_TEXT"),
        ("RegisterModel", "idempotencyKey", "INVALID_IDEMPOTENCY_KEY"),
    )
]
FILES = [
    Bad("CreateDatasetVersion", "files", "FILES_REQUIRED", ([],)),
    Bad("CreateDatasetVersion", "files.1", "DUPLICATE_PATH", (ANNOUNCED[0],)),
    Bad("CreateDatasetVersion", "files.0.sizeBytes", "INVALID_SIZE", ("-1", str(2**62))),
    Bad("CreateDatasetVersion", "files.0.sizeBytes", BAD_VALUE, ("9" * 19, "1.5", "")),
    Bad("CreateDatasetVersion", "files.0.sha256", "INVALID_DIGEST", (DIGEST[:-1], "z" * 64, "", NUL)),
    Bad("CreateDatasetVersion", "files.0.path", "INVALID_PATH", ("../outside", "/etc/passwd", "a//b", "a/./b")),
    Bad("CreateDatasetVersion", "rows", "INVALID_ROWS", ("-5",)),
    Bad("CreatePackage", "sizeBytes", "PACKAGE_EMPTY", ("0",)),
    Bad("CreatePackage", "sizeBytes", "INVALID_SIZE", ("-1",)),
    Bad("CreatePackage", "sizeBytes", "PACKAGE_TOO_LARGE", (str(2**62),)),
    Bad("CreatePackage", "sha256", "INVALID_DIGEST", ("", "z" * 64)),
    Bad("CreateModelVersion", "parameters", "INVALID_INPUT", ([1, 2], {"key": NUL})),
    Bad("CreateModelVersion", "metrics.0.name", "INVALID_METRIC", ("", NUL, LONG)),
]
IDS = [
    Bad(operation, path, "NOT_FOUND", (encode_id(kind, NOWHERE), *NO_IDS, f"{kind}_{'z' * 32}"))
    for operation, path, kind in (
        ("CreateDatasetVersion", "datasetId", "Dataset"),
        ("CompleteUploads", "ownerId", "DatasetVersion"),
        ("CompleteUploads", "ownerId", "Package"),
        ("CreateModelVersion", "modelId", "Model"),
        ("UpdateCard", "modelVersionId", "ModelVersion"),
        ("PublishModelVersion", "modelVersionId", "ModelVersion"),
        ("SetAlias", "modelId", "Model"),
        ("SetAlias", "modelVersionId", "ModelVersion"),
        ("RecordLesson", "subjectId", "Job"),
        ("AdoptModel", "modelVersionId", "ModelVersion"),
        ("AcceptQuote", "quoteId", "Quote"),
        ("CancelJob", "jobId", "Job"),
        ("RequestAccess", "resourceIds.0", "Dataset"),
        ("DecideAccess", "accessRequestId", "AccessRequest"),
        ("WithdrawAccess", "accessGrantId", "AccessGrant"),
        ("RequestQuote", "job.source.packageId", "Package"),
        ("RequestQuote", "job.output.modelId", "Model"),
        ("RequestQuote", "job.inputs.0.source.datasetVersionId", "DatasetVersion"),
    )
]
OTHERS = [
    Bad("AllocateCredits", "programme", "NOT_FOUND", ("nowhere", "")),
    Bad("AllocateCredits", "team", "NOT_FOUND", ("nowhere", "")),
    Bad("RegisterModel", "riskTier", BAD_VALUE, ("NONE", "", 1)),
    Bad("RegisterModel", "team", "BAD_REQUEST", (LONE_SURROGATE,)),
    Bad("RegisterDataset", "stewards.0", "NOT_FOUND", ("nobody@guildhall.example", "", LONG)),
    Bad("RegisterDataset", "stewards", "STEWARDS_INVALID", ([],)),
    Bad("RegisterDataset", "legal.permittedPurposes.0", "UNKNOWN_PURPOSE", ("plunder", "", LONG)),
    Bad("RequestAccess", "purpose", "UNKNOWN_PURPOSE", ("plunder", "", LONG)),
    Bad("RequestAccess", "beneficiary", BAD_VALUE, ({}, {"team": "others", "email": "oli@guildhall.example"})),
    Bad("RequestAccess", "beneficiary.team", "NOT_FOUND", ("nowhere", "", LONG)),
    Bad("RequestAccess", "resourceIds", "REQUIRED", ([],)),
    Bad("RegisterModel", "unknownField", BAD_VALUE, ("x",)),
]
NULL_CHARACTERS = [
    # Names that are only looked up: the database itself is the one to notice, and cannot say which it was.
    Bad(operation, path, "INVALID_TEXT", (NUL,))
    for operation, path in (
        ("RequestQuote", "job.pools.0"),
        ("RequestQuote", "programme"),
        ("RequestQuote", "team"),
        ("AllocateCredits", "team"),
        ("RegisterDataset", "stewards.0"),
        ("RegisterDataset", "legal.permittedPurposes.0"),
        ("RequestAccess", "purpose"),
        ("RequestAccess", "beneficiary.team"),
    )
]
WITHOUT_FIELD = frozenset({BAD_VALUE, "BAD_REQUEST"})


@pytest.mark.parametrize("bad", [*CREDITS, *TIMES, *JOBS, *TEXTS, *FILES, *IDS, *OTHERS, *NULL_CHARACTERS], ids=str)
class TestMutation:
    def test_is_told_what_is_wrong(self, treasury: House, bad: Bad) -> None:
        before = fingerprint(treasury)
        for value in bad.values:
            told = treasury.try_change(DIRECTLY.get(bad.operation, "ada"), bad.operation, **bad.inputs(treasury, value))
            assert_told_well(told)
            assert told.codes == [bad.code], told.problems
            (problem,) = told.problems
            if bad.code not in WITHOUT_FIELD and bad not in NULL_CHARACTERS:
                assert problem["field"].startswith(bad.field.rpartition("[")[0] or bad.field)
        assert fingerprint(treasury) == before
