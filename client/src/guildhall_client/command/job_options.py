"""What a job is asked for with, the same for `quote` and `run`, and how that becomes the input of a quote."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from guildhall_client.client import Client
from guildhall_client.command.documents.jobs import PROGRAMMES_OF_TEAM
from guildhall_client.command.documents.people import WHO_AM_I
from guildhall_client.command.exits import CommandFailed, Exit, NoSuchThing
from guildhall_client.command.options import CORES, DURATION, MOMENT, PAIR, SIZE, choice
from guildhall_client.command.references import (
    VERSIONED,
    Reference,
    find_dataset_version,
    find_model,
    find_model_version,
)

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--team", envvar="GUILDHALL_TEAM", help="Whose job it is; your team, where you have one."),
    click.option("--programme", envvar="GUILDHALL_PROGRAMME", help="Whose credits; the team's, where it has one."),
    click.option("--name", help="The job's name; by default the folder's."),
    click.option(
        "--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path(),
        help="The folder to pack; by default this one.",
    ),
    click.option("--image", help="Run in this image, and pack nothing."),
    click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="Accelerators of each node."),
    click.option("--accelerator", help="Of this kind; by default any."),
    click.option("--cpu", type=CORES, help="Cores of each node."),
    click.option("--memory", type=SIZE, help="Memory of each node, as 16GiB."),
    click.option("--disk", type=SIZE, help="Disk of each node, as 100GiB."),
    click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="How many nodes."),
    click.option("--tier", type=choice("GUARANTEED", "STANDARD", "PREEMPTIBLE"), default="STANDARD", show_default=True,
                 help="How surely it keeps its place."),
    click.option("--walltime", type=DURATION, default="1h", show_default=True, help="How long it may run at most."),
    click.option("--start-by", type=MOMENT, help="Give up where it has not started by then; by default in a day."),
    click.option("--pool", "pools", multiple=True, help="Only on this pool; may be given often."),
    click.option("--env", "environment", type=PAIR, multiple=True, metavar="NAME=VALUE", help="A variable."),
    click.option("--data", "datasets", type=PAIR, multiple=True, metavar="FOLDER=TEAM/NAME[@N]",
                 help="A data set that the command finds in that folder."),
    click.option("--base", "models", type=PAIR, multiple=True, metavar="FOLDER=TEAM/NAME[@N]",
                 help="A model version that the command finds in that folder."),
    click.option("--purpose", help="What the data is used for; needed with --data and --base."),
    click.option("--output", type=VERSIONED, metavar="TEAM/NAME",
                 help="The model that gets a version from what the command leaves in its output folder."),
    click.option("--output-folder", default="output", show_default=True, help="That folder."),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options and the command."""

    command: tuple[str, ...]
    team: str | None
    programme: str | None
    name: str | None
    folder: Path
    image: str | None
    gpus: int
    accelerator: str | None
    cpu: float | None
    memory: int | None
    disk: int | None
    nodes: int
    tier: str
    walltime: int
    start_by: str | None
    pools: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    datasets: tuple[tuple[str, str], ...]
    models: tuple[tuple[str, str], ...]
    purpose: str | None
    output: Reference | None
    output_folder: str

    @property
    def job_name(self) -> str:
        """As given, or as the folder is called."""
        return self.name or _slug(self.folder.resolve().name)


def job_options(command: F) -> F:
    """All of them, and the command itself, after `--`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return click.argument("command", nargs=-1, required=True, metavar="-- COMMAND...")(command)


def team_and_programme(client: Client, asked: Asked) -> tuple[str, str]:
    """As given, or the only ones that there are; raises a usage error that names the choice."""
    team = asked.team
    if team is None:
        memberships = client.execute(WHO_AM_I)["viewer"]["memberships"]
        teams = sorted({held["team"]["name"] for held in memberships if held["team"]})
        if len(teams) != 1:
            known = f"you are in {', '.join(teams)}" if teams else "you are in none"
            raise CommandFailed(f"Say whose job it is with --team: {known}.", Exit.USAGE)
        team = teams[0]
    if asked.programme is not None:
        return team, asked.programme
    found = client.execute(PROGRAMMES_OF_TEAM, {"team": team})["team"]
    if found is None:
        raise NoSuchThing(f"There is no team {team}.")
    now = datetime.now(UTC)
    programmes = sorted(
        {
            allocation["programme"]["name"]
            for allocation in (found["wallet"] or {"allocations": {"nodes": []}})["allocations"]["nodes"]
            if datetime.fromisoformat(allocation["validFrom"]) <= now < datetime.fromisoformat(allocation["validTo"])
        }
    )
    if len(programmes) != 1:
        known = f"{team} has credits for {', '.join(programmes)}" if programmes else f"{team} has no credits now"
        raise CommandFailed(f"Say on whose credits with --programme: {known}.", Exit.USAGE)
    return team, programmes[0]


def job_input(client: Client, asked: Asked, source: dict[str, Any]) -> dict[str, Any]:
    """The `JobSpecInput`: names have become ids. Raises `NoSuchThing`."""
    per_node: dict[str, Any] = {"acceleratorCount": asked.gpus}
    if asked.accelerator:
        per_node["accelerator"] = asked.accelerator
    if asked.cpu is not None:
        per_node["cpu"] = asked.cpu
    if asked.memory is not None:
        per_node["memoryBytes"] = str(asked.memory)
    if asked.disk is not None:
        per_node["diskBytes"] = str(asked.disk)
    job: dict[str, Any] = {
        "name": asked.job_name,
        "command": list(asked.command),
        "source": source,
        "perNode": per_node,
        "nodes": asked.nodes,
        "tier": asked.tier,
        "walltimeSeconds": asked.walltime,
        "environment": [{"name": name, "value": value} for name, value in asked.environment],
        "inputs": _inputs(client, asked),
    }
    if asked.start_by:
        job["startBy"] = asked.start_by
    if asked.pools:
        job["pools"] = list(asked.pools)
    if asked.output is not None:
        job["output"] = {"modelId": find_model(client, asked.output)["id"], "path": asked.output_folder}
    return job


def _inputs(client: Client, asked: Asked) -> list[dict[str, Any]]:
    if (asked.datasets or asked.models) and not asked.purpose:
        raise CommandFailed("Say with --purpose what the data is used for; reading it is bound to that.", Exit.USAGE)
    inputs = []
    for mount, text in asked.datasets:
        found = find_dataset_version(client, VERSIONED.convert(text, None, None))
        inputs.append(_input({"datasetVersionId": found.version_id}, mount, asked))
    for mount, text in asked.models:
        found = find_model_version(client, VERSIONED.convert(text, None, None), ("PUBLISHED", "READY"))
        inputs.append(_input({"modelVersionId": found.version_id}, mount, asked))
    return inputs


def _input(source: dict[str, str], mount: str, asked: Asked) -> dict[str, Any]:
    return {"source": source, "mountPath": mount, "purpose": asked.purpose}


def _slug(text: str) -> str:
    plain = "".join(mark if mark.isalnum() and mark.isascii() else "-" for mark in text.lower())
    return "-".join(part for part in plain.split("-") if part) or "job"
