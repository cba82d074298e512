"""Chapters 2 to 5: Maintenance registers data, trains, publishes, and writes down what it learned."""

from typing import Any

from demo.digits import COLUMNS, write_digits
from demo.organisation import LICENCE, PEOPLE, PURPOSE
from demo.world import TRAINING_FOLDER, World

WALLTIME_SECONDS = 600
ABANDON = """
mutation AbandonModelVersion($input: AbandonModelVersionInput!) {
  abandonModelVersion(input: $input) { modelVersion { id status } errors { code field message } }
}
"""
CARD = [
    {"name": "Intended use", "body": "Reads single handwritten or embossed digits on pressure gauges."},
    {"name": "Limitations", "body": "Trained on 8 × 8 grey images of digits; whole dials need cutting up first."},
    {"name": "Training data", "body": "gauge-digits, 1,347 of 1,797 images; every fourth image is held out."},
]
DATA_NEEDS = {
    "features": [{"name": "image", "type": "8x8 grey image", "unit": "grey level 0..16", "required": True}],
    "labelDefinition": "the digit that a person reads on the gauge, 0 to 9",
    "rowsMin": 500,
}


def register_data(world: World) -> None:
    """Register the data set with its legal record and upload its files, unless an earlier run did."""
    world.narrator.chapter("2  The data set")
    found = world.ask("mira", "DatasetPage", team="maintenance", name="gauge-digits")["dataset"]
    with world.narrator.step("Mira (Maintenance)", "registers the data set gauge-digits") as step:
        if found:
            world.ids["dataset"] = found["id"]
            step.said = "there already"
        else:
            world.ids["dataset"] = _register(world)["id"]
            step.said = f"CONFIDENTIAL, {LICENCE}, for {PURPOSE}, steward Stella, region eu-local"
        step.recorded = world.recorded()
    with world.narrator.step("Mira", "uploads its files") as step:
        ready = [node for node in found["versions"]["nodes"] if node["state"] == "READY"] if found else []
        if ready:
            version = ready[0]
            step.said = f"version {version['number']} is there already"
        else:
            folder = world.folder / "gauge-digits"
            digits = write_digits(folder)
            details = {"columns": COLUMNS, "rows": str(digits.rows)}
            progress = lambda done, total: step.show(done / max(total, 1), f"{done} of {total} bytes")  # noqa: E731
            version = world.people["mira"].upload_dataset_version(world.ids["dataset"], folder, details, progress)
            step.said = f"version {version['number']}: {digits.rows} rows in {len(digits.rows_by_path)} files"
        world.ids["dataset_version"] = version["id"]
        step.recorded = world.recorded()


def train(world: World) -> None:
    """Pack, quote, accept, run; the version that comes out is there with what was observed."""
    world.narrator.chapter("3  The training job")
    world.ids["model"] = _model(world)
    with world.narrator.step("Milan (Maintenance)", "packs the training script") as step:
        package = world.people["milan"].upload_package("maintenance", TRAINING_FOLDER)
        world.ids["package"] = package["id"]
        step.said = f"digest {package['sha256'][:12]}…"
        step.recorded = world.recorded()
    with world.narrator.step("Milan", "asks for a quote: 1 GPU, 10 minutes at most") as step:
        quote = world.quote("milan", "maintenance", "zero-defects", **training_job(world, "train-gauge-reader"))
        rates = ", then ".join(
            f"{segment['creditsPerHour']} an hour on {segment['pool']['name']} "
            f"{segment['startsAt'][11:16]}–{segment['endsAt'][11:16]} UTC"
            for segment in quote["segments"]
        )
        pools = ", ".join(pool["name"] for pool in quote["eligiblePools"])
        step.said = (
            f"{rates}: {quote['estimatedPrice']} credits, {quote['predictedEnergyKwh']} kWh; "
            f"hold {quote['hold']}, for the dearest of {pools} and the latest start"
        )
        world.facts["quote"] = quote
        step.recorded = world.recorded()
    with world.narrator.step("Milan", "accepts; the job trains") as step:
        world.ids["job"] = world.accept("milan", quote)
        job = world.follow("milan", world.ids["job"], step, WALLTIME_SECONDS)
        world.facts["train_job"] = job
        require_success(job)
        step.said = f"{job['state']} on {job['pool']['name']}, {job['charge']['released']} credits released"
        step.recorded = world.recorded()
    world.ids["version"] = job["outputs"][0]["modelVersion"]["id"]


def publish(world: World) -> None:
    """Complete the card, publish, set the alias."""
    world.narrator.chapter("4  The model version")
    version = model_version(world, "mira", world.ids["version"])
    world.facts["version"] = version
    accuracy = next(metric["value"] for metric in reversed(version["metrics"]) if metric["name"] == "accuracy")
    world.facts["accuracy"] = accuracy
    kinds = sorted({link["kind"] for link in version["lineage"]["links"] if link["basis"] == "OBSERVED"})
    with world.narrator.step("Mira", f"looks at version {version['number']}") as step:
        step.said = (
            f"accuracy {accuracy:.3f} on held-out rows, {len(version['artifacts']['nodes'])} artifacts, "
            f"card {version['card']['completeness']:.0%} filled by the run, observed {', '.join(kinds)}"
        )
        step.recorded = world.recorded()
    with world.narrator.step("Mira", "completes the card, publishes, sets the alias champion") as step:
        published = complete_and_publish(world, "mira", world.ids["version"])
        world.change(
            "mira",
            "SetAlias",
            modelId=world.ids["model"],
            name="champion",
            modelVersionId=world.ids["version"],
            reason="the first version that reads more than nine in ten",
        )
        step.said = f"{published['status']}, champion is version {version['number']}"
        step.recorded = world.recorded()


def learn(world: World) -> None:
    """Lessons of what worked, of what did not, and of what led nowhere."""
    world.narrator.chapter("5  What was learned")
    with world.narrator.step("Mira", "writes a lesson on the version") as step:
        lesson = world.change(
            "mira",
            "RecordLesson",
            subjectId=world.ids["version"],
            summary="Fails on glare; normalise contrast first",
            body="With a reflection on the glass, most digits are read as 8. Stretching the contrast helps.",
            outcome="MIXED",
            dontUseWhen="the glass reflects and the contrast cannot be normalised",
            tags=["glare", "contrast"],
        )["lesson"]
        world.ids["lesson"] = lesson["id"]
        step.said = f"“{lesson['summary']}”"
        step.recorded = world.recorded()
    with world.narrator.step("Milan", "trains a second, smaller model") as step:
        environment = [{"name": "HIDDEN", "value": "2"}, {"name": "EPOCHS", "value": "3"}]
        job_inputs = training_job(world, "train-tiny-reader", environment=environment)
        quote = world.quote("milan", "maintenance", "zero-defects", **job_inputs)
        job = world.follow("milan", world.accept("milan", quote), step, WALLTIME_SECONDS)
        require_success(job)
        worse = model_version(world, "mira", job["outputs"][0]["modelVersion"]["id"])
        accuracy = worse["metrics"][-1]["value"]
        world.facts["worse_accuracy"] = accuracy
        step.said = f"accuracy {accuracy:.3f}"
        step.recorded = world.recorded()
    with world.narrator.step("Mira", "abandons it and keeps its lesson") as step:
        reason = "two hidden units cannot tell ten digits apart"
        inputs = {"modelVersionId": worse["id"], "reason": reason}
        abandoned = world.people["mira"].mutate(ABANDON, inputs)["modelVersion"]
        world.change(
            "mira",
            "RecordLesson",
            subjectId=job["id"],
            summary="Two hidden units are too few",
            body=reason,
            outcome="FAILED",
        )
        world.facts["abandoned_status"] = abandoned["status"]
        step.said = f"{abandoned['status']}; the lesson stays with the run"
        step.recorded = world.recorded()


def complete_and_publish(world: World, person: str, version_id: str) -> dict[str, Any]:
    """Write what a run cannot know into the card, and publish."""
    world.change(person, "UpdateCard", modelVersionId=version_id, sections=CARD, dataNeeds=DATA_NEEDS)
    published: dict[str, Any] = world.change(person, "PublishModelVersion", modelVersionId=version_id)["modelVersion"]
    return published


def training_job(world: World, name: str, **more: Any) -> dict[str, Any]:
    """Maintenance's training job as a quote asks for it."""
    return {
        "name": name,
        "command": ["python", "train.py"],
        "source": {"packageId": world.ids["package"]},
        "inputs": [
            {
                "source": {"datasetVersionId": world.ids["dataset_version"]},
                "mountPath": "data/gauge-digits",
                "purpose": PURPOSE,
            }
        ],
        "output": {"modelId": world.ids["model"], "path": "output"},
        "walltimeSeconds": WALLTIME_SECONDS,
        **more,
    }


def model_version(world: World, person: str, version_id: str) -> dict[str, Any]:
    """A version as the model's page shows it."""
    page = world.ask(person, "ModelPage", team="maintenance", name="gauge-reader")["model"]
    found: dict[str, Any] = next(node for node in page["versions"]["nodes"] if node["id"] == version_id)
    return found


def require_success(job: dict[str, Any]) -> None:
    """A demo whose job failed ends with the job's own words."""
    if job["state"] != "SUCCEEDED":
        raise RuntimeError(f"{job['name']} {job['state']}: {job['stateReason']['message']}\n{job['logTail']}")


def _register(world: World) -> dict[str, Any]:
    dataset: dict[str, Any] = world.change(
        "mira",
        "RegisterDataset",
        team="maintenance",
        name="gauge-digits",
        description="Handwritten digits as they stand on pressure gauges, 8 × 8 pixels, read by people.",
        visibility="ORGANISATION",
        classification="CONFIDENTIAL",
        legal={
            "licence": LICENCE,
            "legalBasis": "published by UCI for any use with attribution",
            "permittedPurposes": [PURPOSE],
            "retentionEndsOn": f"{world.now().year + 10}-12-31",
            "regions": ["eu-local"],
        },
        stewards=[PEOPLE["stella"]["email"]],
    )["dataset"]
    return dataset


def _model(world: World) -> str:
    found = world.ask("mira", "ModelPage", team="maintenance", name="gauge-reader")["model"]
    if found:
        return str(found["id"])
    model = world.change(
        "mira",
        "RegisterModel",
        team="maintenance",
        name="gauge-reader",
        task="image-classification",
        description="Reads the handwritten digits on pressure gauges.",
        visibility="ORGANISATION",
        riskTier="LIMITED",
    )["model"]
    return str(model["id"])
