"""search, model show, model alias, model download."""

from pathlib import Path
from typing import Any

import click

from guildhall_client.command.connection import connected
from guildhall_client.command.documents.models import FIND_MODELS, MODEL_FILES, SET_ALIAS, SHOW_MODEL
from guildhall_client.command.downloading import download_version
from guildhall_client.command.exits import NoSuchThing
from guildhall_client.command.options import json_option, page_options
from guildhall_client.command.printing import (
    moment,
    note,
    print_facts,
    print_heading,
    print_json,
    print_line,
    print_table,
)
from guildhall_client.command.references import UNVERSIONED, VERSIONED, Reference, find_model_version


@click.command
@click.argument("words", nargs=-1, required=True)
@page_options
@json_option
def search(words: tuple[str, ...], limit: int, after: str | None, as_json: bool) -> None:
    """Find models by what they do: in names, tasks, descriptions, cards and lessons.

    All words must occur; "phrases" in quotes, `or` and `-without` are understood.
    """
    with connected() as client:
        variables = {"text": " ".join(words), "first": limit, "after": after}
        found = client.execute(FIND_MODELS, variables)["searchModels"]
    if as_json:
        print_json(found)
        return
    rows = [_hit(edge["node"]) for edge in found["edges"]]
    print_table(["MODEL", "TASK", "ADOPTED", "LATEST LESSON"], rows, empty="No model fits; try fewer words.")
    if found["pageInfo"]["hasNextPage"]:
        note(f"There are more: --after {found['pageInfo']['endCursor']}")


@click.command
@click.argument("model", type=UNVERSIONED, metavar="TEAM/NAME")
@json_option
def show(model: Reference, as_json: bool) -> None:
    """Show a model's page: versions, what data it needs, lessons, who relies on it."""
    with connected() as client:
        found = client.execute(SHOW_MODEL, {"team": model.team, "name": model.name})["model"]
    if found is None:
        raise NoSuchThing(f"There is no model {model} that you may see; `guildhall search` finds models.")
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            ("model", str(model)),
            ("task", found["task"]),
            ("description", found["description"]),
            ("risk tier", found["riskTier"]),
            ("aliases", [f"{alias['name']} → @{alias['version']['number']}" for alias in found["aliases"]]),
            ("tags", found["tags"]),
            ("needs", _needs(found["dataNeeds"])),
            ("adopted by", [adoption["team"]["name"] for adoption in found["adoptions"]["nodes"]]),
        ]
    )
    print_heading(f"Versions ({found['versions']['totalCount']})")
    rows = [_version(version) for version in found["versions"]["nodes"]]
    print_table(["VERSION", "STATUS", "MADE", "METRICS", "CARD LACKS"], rows, empty="No version yet.")
    if found["lessons"]["nodes"]:
        print_heading("Lessons")
        lessons = [
            [lesson["outcome"], lesson["summary"], lesson["dontUseWhen"]] for lesson in found["lessons"]["nodes"]
        ]
        print_table(["OUTCOME", "LESSON", "DON'T USE WHEN"], lessons, empty="")


@click.command
@click.argument("version", type=VERSIONED, metavar="TEAM/NAME@VERSION")
@click.argument("name", metavar="ALIAS")
@click.option("--reason", required=True, help="Why it moves; it stays on record.")
@click.option("--protect/--unprotect", default=None, help="Whether only a maintainer may move it from now on.")
@json_option
def alias(version: Reference, name: str, reason: str, protect: bool | None, as_json: bool) -> None:
    """Point an alias at a version, making the alias where it is new.

    \b
        guildhall model alias maintenance/gauge-reader@3 champion --reason "reads nine in ten"
    """  # noqa: D301 -- \b keeps click from wrapping the example
    if version.version is None:
        raise click.UsageError(f"Say which version, as {version}@3.")
    with connected() as client:
        found = find_model_version(client, version)
        inputs: dict[str, Any] = {
            "modelId": found.id,
            "name": name,
            "modelVersionId": found.version_id,
            "reason": reason,
        }
        if protect is not None:
            inputs["protected"] = protect
        made = client.mutate(SET_ALIAS, inputs)["alias"]
    if as_json:
        print_json(made)
    else:
        print_line(f"{version.team}/{version.name}@{name} is version {made['version']['number']}.")


@click.command
@click.argument("version", type=VERSIONED, metavar="TEAM/NAME[@VERSION]")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="The folder; by default NAME-vNUMBER.")
@json_option
def download(version: Reference, into: Path | None, as_json: bool) -> None:
    """Download a version's files: by number, by alias, or the latest one that is published.

    Given again after it was cut off, it goes on where it was.
    """
    with connected() as client:
        found = find_model_version(client, version, ("PUBLISHED",))
        download_version(client, MODEL_FILES, version, found, into, as_json=as_json)


def _hit(model: dict[str, Any]) -> list[Any]:
    lessons = model["lessons"]["nodes"]
    name = f"{model['team']['name']}/{model['name']}"
    return [name, model["task"], model["adoptions"]["totalCount"], lessons[0]["summary"] if lessons else ""]


def _version(version: dict[str, Any]) -> list[Any]:
    latest: dict[str, str] = {}
    for metric in version["metrics"]:
        latest[metric["name"] + (f" on {metric['split']}" if metric["split"] else "")] = f"{metric['value']:.4g}"
    metrics = [f"{name} {value}" for name, value in latest.items()]
    return [
        f"@{version['number']}",
        version["status"],
        moment(version["createdAt"]),
        metrics,
        version["card"]["missing"],
    ]


def _needs(needs: dict[str, Any] | None) -> list[str]:
    if needs is None:
        return []
    rows = [f"at least {needs['rowsMin']} rows"] if needs["rowsMin"] else []
    return rows + [f"{feature['name']} ({feature['type']})" for feature in needs["features"] if feature["required"]]
