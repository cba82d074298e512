"""model publish: from a folder to a published version in one command."""

import math
import re
from pathlib import Path
from typing import Any

import click

from guildhall_client.client import Client
from guildhall_client.command.connection import connected
from guildhall_client.command.documents.models import MODEL_VERSIONS, PUBLISH_MODEL_VERSION, REGISTER_MODEL, UPDATE_CARD
from guildhall_client.command.exits import CommandFailed, Exit
from guildhall_client.command.options import PAIR, choice, json_option
from guildhall_client.command.printing import note, print_json, print_line
from guildhall_client.command.references import (
    VERSIONED,
    Reference,
    find_dataset_version,
    find_model,
    find_model_version,
)
from guildhall_client.command.transfers import bar, folder_state, upload_key
from guildhall_client.command.yaml_files import load_mapping

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_HEADING = re.compile(r"^#{1,2} +(.+?) *#*$", re.MULTILINE)


@click.command
@click.argument("version", type=VERSIONED, metavar="TEAM/NAME[@VERSION]")
@click.option("--folder", type=FOLDER, help="Upload this folder as a new version first.")
@click.option("--card", type=FILE, help="A Markdown file; each heading begins a section of the card.")
@click.option("--data-needs", type=FILE, help="A YAML file: features, labelDefinition, rowsMin.")
@click.option("--metric", "metrics", type=PAIR, multiple=True, metavar="NAME[@SPLIT]=VALUE", help="With --folder.")
@click.option("--parameter", "parameters", type=PAIR, multiple=True, metavar="NAME=VALUE", help="With --folder.")
@click.option("--trained-on", type=VERSIONED, multiple=True, metavar="TEAM/NAME[@N]", help="A data set; with --folder.")
@click.option("--fine-tuned-from", type=VERSIONED, multiple=True, metavar="TEAM/NAME[@N]", help="A model; same.")
@click.option("--task", help="Register the model where there is none: what it does, as image-classification.")
@click.option("--description", default="", help="Same: a sentence.")
@click.option("--risk", type=choice("LOW", "LIMITED", "HIGH"), help="Same: the harm that a wrong answer can do.")
@click.option("--draft", is_flag=True, help="Upload and write the card, and do not publish yet.")
@json_option
def publish(
    version: Reference,
    folder: Path | None,
    card: Path | None,
    data_needs: Path | None,
    draft: bool,
    as_json: bool,
    **details: Any,  # noqa: ANN401 -- click's values
) -> None:
    """Publish a version, uploading it first where a folder is given.

    Without --folder a version that is there is published: the one that is named, or the latest that is ready. Where the
    card lacks something, each missing section is named. An upload that was cut off goes on when it is given again.

    \b
        guildhall model publish vision/gauge-reader --folder out --card CARD.md --metric accuracy=0.93
        guildhall model publish vision/gauge-reader@3
    """  # noqa: D301 -- \b keeps click from wrapping the example
    if folder is not None and version.version is not None:
        raise click.UsageError(f"A folder becomes a version of its own number: leave out @{version.version}.")
    # Read before anything is sent, so that what is no good leaves nothing half done.
    written = _card_input(card, data_needs)
    metrics = [_metric(name, value) for name, value in details["metrics"]]
    state = [] if folder is None else folder_state(folder)
    with connected() as client:
        if folder is not None:
            sources = _sources(client, details)
            _register_where_new(client, version, details)
            described = {"metrics": metrics, "parameters": dict(details["parameters"]), "sources": sources}
            made = _upload(client, version, folder, state, described)
            version_id, number = made["id"], made["number"]
        else:
            found = find_model_version(client, version, ("READY", "BLOCKED"))
            version_id, number = found.version_id, found.number
        result: dict[str, Any] = {"id": version_id, "number": number, "status": "READY"}
        if written:
            client.mutate(UPDATE_CARD, {"modelVersionId": version_id, **written})
        if not draft:
            result |= client.mutate(PUBLISH_MODEL_VERSION, {"modelVersionId": version_id})["modelVersion"]
    if as_json:
        print_json(result)
    else:
        print_line(f"{version.team}/{version.name}@{number} is {result['status']}.")


def card_sections(text: str) -> list[dict[str, str]]:
    """The sections of a Markdown text, by its headings of the first two levels."""
    found = list(_HEADING.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)][: len(found)]
    return [
        {"name": match[1], "body": text[match.end() : end].strip()}
        for match, end in zip(found, ends, strict=True)
        if text[match.end() : end].strip()
    ]


def _card_input(card: Path | None, data_needs: Path | None) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if card is not None:
        try:
            written["sections"] = card_sections(card.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise CommandFailed(f"{card} is no text in UTF-8.", Exit.USAGE) from None
        if not written["sections"]:
            raise CommandFailed(f"{card} has no sections: begin each with a heading, as `# Limitations`.", Exit.USAGE)
    if data_needs is not None:
        needs = load_mapping(data_needs)
        if "rowsMin" in needs:
            needs["rowsMin"] = str(needs["rowsMin"])
        written["dataNeeds"] = needs
    return written


def _register_where_new(client: Client, version: Reference, details: dict[str, Any]) -> None:
    variables = {"team": version.team, "name": version.name, "first": 1, "after": None}
    if client.execute(MODEL_VERSIONS, variables)["model"] is not None:
        return
    if not (details["task"] and details["risk"]):
        message = (
            f"There is no model {version.team}/{version.name} that you may see; with --task and --risk it is registered"
        )
        raise CommandFailed(f"{message}.", Exit.NOT_FOUND)
    inputs = {
        "team": version.team,
        "name": version.name,
        "task": details["task"],
        "description": details["description"] or details["task"],
        "riskTier": details["risk"],
    }
    client.mutate(REGISTER_MODEL, inputs)
    note(f"Registered {version.team}/{version.name}.")


def _sources(client: Client, given: dict[str, Any]) -> list[dict[str, str]]:
    """What the version was made from; raises `NoSuchThing`."""
    return [
        *(
            {"kind": "TRAINED_ON", "nodeId": find_dataset_version(client, source).version_id}
            for source in given["trained_on"]
        ),
        *(
            {"kind": "FINE_TUNED_FROM", "nodeId": find_model_version(client, source).version_id}
            for source in given["fine_tuned_from"]
        ),
    ]


def _upload(
    client: Client, version: Reference, folder: Path, state: list[list[Any]], details: dict[str, Any]
) -> dict[str, Any]:
    model_id = find_model(client, version)["id"]
    with (
        upload_key(client.url, "model version", [model_id, details, state]) as key,
        bar(f"Uploading {folder}") as tell,
    ):
        return client.upload_model_version(model_id, folder, {**details, "idempotencyKey": key}, tell)


def _metric(name: str, text: str) -> dict[str, Any]:
    plain, _, split = name.partition("@")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CommandFailed(f"--metric {name}={text}: {text!r} is no number.", Exit.USAGE)
    return {"name": plain, "value": value, **({"split": split} if split else {})}
