"""The story of the demo in small: what the reading documents are asked about afterwards."""

from typing import Any

from tests.documents.world import World, archive, file_input, this_year

SCRIPT = """
import json, os, pathlib
rows = pathlib.Path("data/readings.csv").read_text().splitlines()
print("read", len(rows), "rows")
with open(os.environ["GUILDHALL_METRICS_FILE"], "a") as metrics:
    metrics.write(json.dumps({"name": "accuracy", "value": 0.75, "split": "heldout", "step": 1}) + "\\n")
output = pathlib.Path(os.environ["GUILDHALL_OUTPUT"])
output.mkdir(parents=True, exist_ok=True)
(output / "model.json").write_text(json.dumps({"rows": len(rows)}))
"""
READINGS = b"pressure,digit\n1.5,3\n2.5,7\n"
MEMBERS = {
    "alma": (None, "allocator"),
    "audrey": (None, "auditor"),
    "mira": ("maintenance", "maintainer"),
    "stella": ("maintenance", "steward"),
    "quentin": ("quality", "maintainer"),
}


async def tell(world: World) -> None:
    """Each chapter leaves its ids in the world."""
    await set_up(world)
    await register_data(world)
    await train(world)
    await publish(world)
    await reuse(world)
    await cancel(world)


async def set_up(world: World) -> None:
    begins, ends = this_year()
    pool = {"name": "forge", "cluster": "here", "region": "eu-local", "accelerator": "sim-a10", "slots": 2}
    rates = [{"pool": "forge", "tier": tier, "creditsPerHour": "36"} for tier in ("STANDARD", "PREEMPTIBLE")]
    configuration: dict[str, Any] = {
        "teams": [{"name": "maintenance"}, {"name": "quality"}],
        "members": [
            {"email": f"{name}@example.org", "name": name.title(), "team": team, "roles": [role]}
            for name, (team, role) in MEMBERS.items()
        ],
        "programmes": [{"name": "zero-defects", "title": "Zero defects", "strategicClass": "A"}],
        "periods": [{"name": "year", "startsAt": begins, "endsAt": ends}],
        "pools": [{**pool, "wattsPerAccelerator": 150}],
        "priceLists": [{"name": "list", "validFrom": begins, "rates": rates}],
        "purposes": [{"name": "defect-detection", "description": "Find defects."}],
    }
    tried = await world.change("pat", "ApplyConfiguration", **configuration, dryRun=True)
    assert {change["action"] for change in tried["changes"]} == {"CREATED"}
    made = await world.change("pat", "ApplyConfiguration", **configuration)
    assert made["changes"] == tried["changes"]
    again = await world.change("pat", "ApplyConfiguration", **configuration)
    assert {change["action"] for change in again["changes"]} == {"UNCHANGED"}
    for name in MEMBERS:
        await world.sign_in(name, f"{name}@example.org")
    for team in ("maintenance", "quality"):
        given = {"team": team, "programme": "zero-defects", "credits": "100", "validFrom": begins, "validTo": ends}
        payload = await world.change("alma", "AllocateCredits", **given, reason="decided")
        assert (payload["allocation"]["allocated"], payload["allocation"]["remaining"]) == ("100", "100")


async def register_data(world: World) -> None:
    legal = {
        "licence": "CC-BY-4.0",
        "legalBasis": "contract",
        "permittedPurposes": ["defect-detection"],
        "retentionEndsOn": "2099-12-31",
        "regions": ["eu-local"],
    }
    payload = await world.change(
        "mira",
        "RegisterDataset",
        team="maintenance",
        name="gauge-readings",
        description="What gauges showed.",
        visibility="ORGANISATION",
        classification="CONFIDENTIAL",
        legal=legal,
        stewards=["stella@example.org"],
    )
    assert payload["dataset"]["team"] == {"name": "maintenance"}
    assert payload["dataset"]["stewards"] == [{"email": "stella@example.org"}]
    world.ids["dataset"] = payload["dataset"]["id"]
    columns = [
        {"name": "pressure", "type": "float", "unit": "bar", "personal": False},
        {"name": "digit", "type": "int"},
    ]
    made = await world.change(
        "mira",
        "CreateDatasetVersion",
        datasetId=world.ids["dataset"],
        files=[{**file_input("readings.csv", READINGS), "rows": "2"}],
        columns=columns,
        rows="2",
    )
    assert (made["datasetVersion"]["number"], made["datasetVersion"]["state"]) == (1, "DRAFT")
    world.ids["dataset version"] = made["datasetVersion"]["id"]
    missing = await world.ask("mira", "CompleteUploads", input={"ownerId": world.ids["dataset version"]})
    assert [entry["path"] for entry in missing["completeUploads"]["missing"]] == ["readings.csv"]
    await world.upload("mira", made, {"readings.csv": READINGS})
    done = await world.change("mira", "CompleteUploads", ownerId=world.ids["dataset version"])
    assert done["owner"] == {"__typename": "DatasetVersion", "id": world.ids["dataset version"]}
    assert done["missing"] == []


async def train(world: World) -> None:
    payload = await world.change(
        "mira",
        "RegisterModel",
        team="maintenance",
        name="gauge-reader",
        task="digit-recognition",
        description="Reads the digits of pressure gauges.",
        visibility="ORGANISATION",
        riskTier="LIMITED",
    )
    assert payload["model"]["riskTier"] == "LIMITED"
    world.ids["model"] = payload["model"]["id"]
    content = archive({"train.py": SCRIPT, "wait.py": "import time\ntime.sleep(60)\n"})
    about = file_input("", content)
    made = await world.change(
        "mira", "CreatePackage", team="maintenance", sizeBytes=about["sizeBytes"], sha256=about["sha256"]
    )
    world.ids["package"] = made["package"]["id"]
    assert made["package"]["sha256"] == about["sha256"]
    await world.upload("mira", made, {target["path"]: content for target in made["uploads"]})
    await world.change("mira", "CompleteUploads", ownerId=world.ids["package"])
    world.ids["quote"], world.ids["job"] = await run_job(world, "train")
    page = await world.until_ended("mira", world.ids["job"])
    assert page["state"] == "SUCCEEDED", page
    assert page["outputs"][0]["modelVersion"]["number"] == 1
    world.ids["model version"] = page["outputs"][0]["modelVersion"]["id"]


async def run_job(world: World, name: str, *, unique: bool = False) -> tuple[str, str]:
    """Ask for a quote and accept it; the ids of both. Accepting twice with one key is accepting once."""
    job: dict[str, Any] = {
        "name": name,
        "command": ["python", f"{name}.py"],
        "source": {"packageId": world.ids["package"]},
        "perNode": {"accelerator": "sim-a10", "acceleratorCount": 1},
        "walltimeSeconds": 300,
        "tier": "STANDARD",
        "environment": [{"name": "SEED", "value": "7"}],
    }
    if name == "train":
        source = {"datasetVersionId": world.ids["dataset version"]}
        job["inputs"] = [{"source": source, "mountPath": "data", "purpose": "defect-detection"}]
        job["output"] = {"modelId": world.ids["model"], "path": "output"}
    payload = await world.change("mira", "RequestQuote", team="maintenance", programme="zero-defects", job=job)
    quote = payload["quote"]
    assert quote["hold"] == "3"  # 300 s at 36 credits an hour
    assert [pool["name"] for pool in quote["eligiblePools"]] == ["forge"]
    assert [segment["pool"]["name"] for segment in quote["segments"]] == ["forge"]
    key = f"accept {quote['id'] if unique else name}"
    accepted = await world.change("mira", "AcceptQuote", quoteId=quote["id"], idempotencyKey=key)
    again = await world.change("mira", "AcceptQuote", quoteId=quote["id"], idempotencyKey=key)
    assert again["job"]["id"] == accepted["job"]["id"]
    return quote["id"], accepted["job"]["id"]


async def publish(world: World) -> None:
    version = world.ids["model version"]
    sections = [
        {"name": name, "body": f"What is to say about {name}."}
        for name in ("Intended use", "Limitations", "Training data", "Evaluation")
    ]
    features = [{"name": "pressure", "type": "float", "unit": "bar", "required": True}]
    needs = {"features": features, "labelDefinition": "the digit that a person reads", "rowsMin": "2"}
    card = await world.change("mira", "UpdateCard", modelVersionId=version, sections=sections, dataNeeds=needs)
    assert card["card"]["missing"] == []
    published = await world.change("mira", "PublishModelVersion", modelVersionId=version)
    assert published["modelVersion"] == {"id": version, "status": "PUBLISHED", "statusReason": None}
    alias = {"modelId": world.ids["model"], "name": "champion", "modelVersionId": version, "reason": "the first one"}
    answer = await world.change("mira", "SetAlias", **alias)
    assert answer["alias"] == {"name": "champion", "version": {"number": 1}}
    lesson = {
        "subjectId": version,
        "summary": "Fails on glare",
        "body": "Normalise contrast first.",
        "outcome": "MIXED",
        "dontUseWhen": "the glass reflects",
        "tags": ["glare"],
    }
    recorded = await world.change("mira", "RecordLesson", **lesson)
    world.ids["lesson"] = recorded["lesson"]["id"]
    on_job = await world.change(
        "mira", "RecordLesson", subjectId=world.ids["job"], summary="Two rows", outcome="FAILED"
    )
    assert on_job["lesson"]["summary"] == "Two rows"
    content = b"{}"
    declared = await world.change(
        "mira",
        "CreateModelVersion",
        modelId=world.ids["model"],
        files=[file_input("model.json", content)],
        metrics=[{"name": "accuracy", "value": 0.5, "split": "heldout"}],
        parameters={"epochs": 3},
        sources=[{"kind": "FINE_TUNED_FROM", "nodeId": version}],
    )
    world.ids["declared version"] = declared["modelVersion"]["id"]
    await world.upload("mira", declared, {"model.json": content})
    await world.change("mira", "CompleteUploads", ownerId=world.ids["declared version"])


async def reuse(world: World) -> None:
    adopted = await world.change(
        "quentin",
        "AdoptModel",
        modelVersionId=world.ids["model version"],
        team="quality",
        purpose="defect-detection",
    )
    assert adopted["adoption"]["version"] == {"number": 1}
    await read_bytes(world, "quentin", 403)
    asked = await world.change(
        "quentin",
        "RequestAccess",
        resourceIds=[world.ids["dataset version"]],
        beneficiary={"team": "quality"},
        purpose="defect-detection",
        justification="We want to train further.",
        durationSeconds=86_400,
    )
    request = asked["accessRequest"]["id"]
    queue = (await world.ask("stella", "AccessQueue", first=10))["viewer"]["accessRequestsToDecide"]
    assert [node["id"] for node in queue["nodes"]] == [request]
    assert queue["nodes"][0]["requester"] == {"name": "Quentin"}
    assert queue["nodes"][0]["resources"] == [
        {"__typename": "DatasetVersion", "id": world.ids["dataset version"], "number": 1}
    ]
    decision = {"accessRequestId": request, "decision": "APPROVE", "reason": "fits"}
    assert await world.refused("quentin", "DecideAccess", **decision) != []
    decided = await world.change("stella", "DecideAccess", **decision)
    assert decided["accessRequest"]["decidedBy"] == {"name": "Stella"}
    assert decided["accessGrant"]["purpose"] == "defect-detection"
    world.ids["grant"] = decided["accessGrant"]["id"]
    await read_bytes(world, "quentin", 200)


async def read_bytes(world: World, who: str, status: int) -> None:
    """Read the data set's file as somebody, from the address that the model page would show for artifacts."""
    query = "query ($id: ID!) { node(id: $id) { ... on DatasetVersion { files(first: 1) { nodes { url } } } } }"
    body = await world.post(who, query, {"id": world.ids["dataset version"]})
    (file,) = body["data"]["node"]["files"]["nodes"]
    answer = await world.client.get(file["url"], headers={"authorization": f"Bearer {world.tokens[who]}"})
    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.content == READINGS


async def cancel(world: World) -> None:
    _, world.ids["cancelled job"] = await run_job(world, "wait")
    answer = await world.change("mira", "CancelJob", jobId=world.ids["cancelled job"], reason="not needed")
    assert answer["job"]["id"] == world.ids["cancelled job"]
    page = await world.until_ended("mira", world.ids["cancelled job"])
    assert page["state"] == "CANCELLED"
