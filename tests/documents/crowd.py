"""More of everything that the story has one of: so that a statement for each row would be seen."""

from tests.documents.story import READINGS, run_job
from tests.documents.world import World, file_input

ROWS = 11
"""More than any field of one level may take statements."""


async def gather(world: World) -> None:
    """Models with a version and a lesson each, versions of one model, data sets with a version, jobs, requests."""
    for number in range(ROWS):
        await _register_model(world, number)
        version = await _register_dataset(world, number)
        lesson = {"subjectId": version, "summary": f"Lesson {number}", "outcome": "WORKED"}
        await world.change("mira", "RecordLesson", **lesson)
        asked = await world.change(
            "quentin",
            "RequestAccess",
            resourceIds=[version],
            beneficiary={"team": "quality"},
            purpose="defect-detection",
            justification=f"Once more, {number}.",
            durationSeconds=3_600,
        )
        if number % 2:
            decision = {"accessRequestId": asked["accessRequest"]["id"], "decision": "APPROVE", "reason": "fits"}
            await world.change("stella", "DecideAccess", **decision)
    for _ in range(ROWS):
        _, job = await run_job(world, "wait", unique=True)
        await world.change("mira", "CancelJob", jobId=job, reason="only one of many")


async def _register_model(world: World, number: int) -> None:
    made = await world.change(
        "mira",
        "RegisterModel",
        team="maintenance",
        name=f"model-{number}",
        task="crowd",
        description="One of many.",
        riskTier="LOW",
    )
    version = ""
    for model in (made["model"]["id"], world.ids["model"]):
        declared = await world.change(
            "mira",
            "CreateModelVersion",
            modelId=model,
            files=[file_input("model.json", b"{}")],
            metrics=[{"name": "accuracy", "value": 0.5}, {"name": "loss", "value": 1.5}],
            sources=[{"kind": "TRAINED_ON", "nodeId": world.ids["dataset version"]}],
        )
        await world.upload("mira", declared, {"model.json": b"{}"})
        version = declared["modelVersion"]["id"]
        await world.change("mira", "CompleteUploads", ownerId=version)
    alias = {"name": f"alias-{number}", "modelVersionId": version, "reason": "newest"}
    await world.change("mira", "SetAlias", modelId=world.ids["model"], **alias)


async def _register_dataset(world: World, number: int) -> str:
    legal = {"licence": "CC0", "legalBasis": "none", "permittedPurposes": ["defect-detection"], "regions": ["eu-local"]}
    made = await world.change(
        "mira",
        "RegisterDataset",
        team="maintenance",
        name=f"dataset-{number}",
        description="One of many.",
        classification="CONFIDENTIAL",
        legal=legal,
        stewards=["stella@example.org"],
    )
    version = await world.change(
        "mira",
        "CreateDatasetVersion",
        datasetId=made["dataset"]["id"],
        files=[file_input("readings.csv", READINGS)],
    )
    await world.upload("mira", version, {"readings.csv": READINGS})
    await world.change("mira", "CompleteUploads", ownerId=version["datasetVersion"]["id"])
    return str(version["datasetVersion"]["id"])
