"""Chapter 6: Quality finds the model, asks for the data, and trains it further on its own credits."""

from typing import Any

from demo.organisation import PURPOSE
from demo.story.publishing import WALLTIME_SECONDS, complete_and_publish, require_success
from demo.world import TRAINING_FOLDER, World
from guildhall_client.errors import DownloadFailed, GuildhallClientError, MutationRefused

DAY_SECONDS = 86_400


def find(world: World) -> None:
    """Search, read, adopt."""
    world.narrator.chapter("6  Reuse")
    with world.narrator.step("Quentin (Quality)", "searches “digit”") as step:
        found = world.ask("quentin", "SearchModels", text="digit", first=5)["searchModels"]
        hit = next(edge for edge in found["edges"] if edge["node"]["name"] == "gauge-reader")
        page = world.ask("quentin", "ModelPage", team="maintenance", name="gauge-reader")["model"]
        world.facts["search_count"] = found["count"]["value"]
        world.facts["page_seen_by_quality"] = page
        lessons = "; ".join(dict.fromkeys(lesson["summary"] for lesson in page["lessons"]["nodes"]))
        needs = page["dataNeeds"]
        wanted = f"{needs['rowsMin']} rows of {needs['features'][0]['type']}"
        step.said = f"{hit['node']['name']}; lessons: {lessons}; it needs {wanted}"
        step.recorded = world.recorded()
    with world.narrator.step("Quentin", "adopts it for Quality") as step:
        try:
            adoption = world.change(
                "quentin", "AdoptModel", modelVersionId=world.ids["version"], team="quality", purpose=PURPOSE
            )["adoption"]
            step.said = f"version {adoption['version']['number']}, credited to Maintenance"
        except MutationRefused as refused:
            step.said = refused.problems[0].message
        step.recorded = world.recorded()


def be_refused(world: World) -> None:
    """Try to read the data without an access grant; the refusal says how to ask."""
    _withdraw_earlier_grants(world)
    with world.narrator.step("Quentin", "tries to read the data set") as step:
        world.facts["refusal"] = _refusal(world)
        step.said = f"refused: {world.facts['refusal']}"
        step.recorded = world.recorded()


def ask_for_access(world: World) -> None:
    """Ask with purpose, justification and duration; the steward decides."""
    resources = [world.ids["dataset"], world.ids["version"]]
    with world.narrator.step("Quentin", "asks for access for two weeks") as step:
        request = world.change(
            "quentin",
            "RequestAccess",
            resourceIds=resources,
            beneficiary={"team": "quality"},
            purpose=PURPOSE,
            justification="Our presses carry the same gauges; we want to catch misread pressures.",
            durationSeconds=14 * DAY_SECONDS,
        )["accessRequest"]
        step.said = str(request["state"])
        step.recorded = world.recorded()
    with world.narrator.step("Stella (steward)", "approves, for one week") as step:
        queue = world.ask("stella", "AccessQueue", first=50)["viewer"]["accessRequestsToDecide"]["nodes"]
        asked = next(node for node in queue if node["id"] == request["id"])
        decided = world.change(
            "stella",
            "DecideAccess",
            accessRequestId=asked["id"],
            decision="APPROVE",
            reason="the purpose is permitted and the need is real",
            narrow={"durationSeconds": 7 * DAY_SECONDS},
        )
        world.ids["grant"] = decided["accessGrant"]["id"]
        world.facts["grant"] = decided["accessGrant"]
        step.said = f"access grant until {decided['accessGrant']['validTo'][:10]}"
        step.recorded = world.recorded()


def train_further(world: World) -> None:
    """Quality's job starts from Maintenance's version and the data set."""
    with world.narrator.step("Quentin", "trains it further, on Quality's credits") as step:
        package = world.people["quentin"].upload_package("quality", TRAINING_FOLDER)
        world.ids["quality_model"] = _model(world)
        quote = world.quote("quentin", "quality", "zero-defects", **_job(world, package["id"]))
        world.ids["quality_job"] = world.accept("quentin", quote)
        job = world.follow("quentin", world.ids["quality_job"], step, WALLTIME_SECONDS)
        require_success(job)
        page = world.ask("quentin", "ModelPage", team="quality", name="press-gauge-reader")["model"]
        version = next(
            node for node in page["versions"]["nodes"] if node["id"] == job["outputs"][0]["modelVersion"]["id"]
        )
        world.facts["quality_job"] = job
        world.facts["quality_version"] = version
        kinds = {link["kind"] for link in version["lineage"]["links"] if link["basis"] == "OBSERVED"}
        step.said = f"accuracy {version['metrics'][-1]['value']:.3f}, observed {', '.join(sorted(kinds))}"
        step.recorded = world.recorded()
    with world.narrator.step("Quentin", "publishes it, with what was learned") as step:
        published = complete_and_publish(world, "quentin", version["id"])
        world.change(
            "quentin",
            "RecordLesson",
            subjectId=version["id"],
            summary="Six epochs on top of the champion are enough",
            body="Starting from Maintenance's weights it read as well after six epochs as theirs after twelve.",
            outcome="WORKED",
            tags=["fine-tuning"],
        )
        world.facts["quality_status"] = published["status"]
        step.said = f"{published['status']}, the lesson stays with it"
        step.recorded = world.recorded()


def _refusal(world: World) -> str:
    page = world.ask("quentin", "DatasetPage", team="maintenance", name="gauge-digits")["dataset"]
    file = page["versions"]["nodes"][0]["files"]["nodes"][0]
    url = world.people["quentin"].execute(FILE_URL, {"id": page["versions"]["nodes"][0]["id"]})
    address = url["node"]["files"]["nodes"][0]["url"]
    try:
        world.people["quentin"].download(
            address, world.folder / "stolen.csv", size_bytes=int(file["sizeBytes"]), sha256=file["sha256"]
        )
    except DownloadFailed as refused:
        return refused.message
    raise GuildhallClientError("the data set could be read without an access grant")


def _withdraw_earlier_grants(world: World) -> None:
    page = world.ask("quentin", "DatasetPage", team="maintenance", name="gauge-digits")["dataset"]
    grant = page["viewerAccess"]["accessGrant"]
    if grant is None:
        return
    with world.narrator.step("Stella (steward)", "withdraws the access grant of an earlier run") as step:
        world.change("stella", "WithdrawAccess", accessGrantId=grant["id"], reason="the demo begins anew")
        step.recorded = world.recorded()


def _job(world: World, package_id: str) -> dict[str, Any]:
    return {
        "name": "train-press-gauge-reader",
        "command": ["python", "train.py"],
        "source": {"packageId": package_id},
        "inputs": [
            {
                "source": {"datasetVersionId": world.ids["dataset_version"]},
                "mountPath": "data/gauge-digits",
                "purpose": PURPOSE,
            },
            {"source": {"modelVersionId": world.ids["version"]}, "mountPath": "base", "purpose": PURPOSE},
        ],
        "output": {"modelId": world.ids["quality_model"], "path": "output"},
        "environment": [{"name": "EPOCHS", "value": "6"}],
        "walltimeSeconds": WALLTIME_SECONDS,
    }


def _model(world: World) -> str:
    found = world.ask("quentin", "ModelPage", team="quality", name="press-gauge-reader")["model"]
    if found:
        return str(found["id"])
    model = world.change(
        "quentin",
        "RegisterModel",
        team="quality",
        name="press-gauge-reader",
        task="image-classification",
        description="Reads the digits on the gauges of our presses.",
        visibility="ORGANISATION",
        riskTier="LIMITED",
    )["model"]
    return str(model["id"])


FILE_URL = """
query FileUrl($id: ID!) {
  node(id: $id) { ... on DatasetVersion { files(first: 1) { nodes { url } } } }
}
"""
