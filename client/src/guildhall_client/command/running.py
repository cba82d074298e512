"""quote and run: pack, ask the price, ask the person, follow, fetch."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from guildhall_client import documents
from guildhall_client.client import Client
from guildhall_client.command.asking import require_yes
from guildhall_client.command.connection import connected
from guildhall_client.command.documents.jobs import ACCEPT_QUOTE, CANCEL_JOB, REQUEST_QUOTE
from guildhall_client.command.documents.models import MODEL_FILES
from guildhall_client.command.downloading import bring
from guildhall_client.command.exits import CommandFailed, Exit
from guildhall_client.command.ignoring import ignore_rules
from guildhall_client.command.job_options import Asked, job_input, job_options, team_and_programme
from guildhall_client.command.jobs import Follower
from guildhall_client.command.options import json_option
from guildhall_client.command.printing import (
    file_count,
    moment,
    note,
    print_facts,
    print_heading,
    print_json,
    print_line,
    print_table,
    size,
    span,
)
from guildhall_client.command.transfers import bar
from guildhall_client.packing import files_to_pack


@click.command
@job_options
@json_option
def quote(as_json: bool, **options: Any) -> None:  # noqa: ANN401 -- click's values
    """Ask what a job would cost. Nothing is held and nothing runs.

    \b
        guildhall quote --gpus 2 --walltime 4h -- python train.py
    """  # noqa: D301 -- \b keeps click from wrapping the example
    asked = Asked(**options)
    with connected() as client:
        offer = _quote(client, asked)
    if as_json:
        print_json(offer)
    else:
        _show(offer, asked)


@click.command
@job_options
@click.option("--yes", "-y", is_flag=True, help="Accept the quote without asking.")
@click.option("--detach", "-d", is_flag=True, help="Do not follow the job; its id is printed.")
@click.option(
    "--into", type=click.Path(file_okay=False, path_type=Path), help="Where the result goes; by default NAME-vNUMBER."
)
@click.option("--no-fetch", is_flag=True, help="Leave the result on the server.")
@json_option
def run(
    yes: bool,
    detach: bool,
    into: Path | None,
    no_fetch: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 -- click's values
) -> None:
    """Run a command on the compute marketplace, and bring back its result.

    Packs the folder (without what .guildhallignore, or else .gitignore, names), asks for a quote, asks you, runs the
    command, shows what it writes, and downloads the model version that it made. Ctrl-C asks whether to stop the job or
    to leave it running. Exits with 6 where the job does not succeed.

    \b
        guildhall run --gpus 1 --walltime 2h -- python train.py --epochs 10
        guildhall run --data data=vision/gauges@2 --purpose defect-detection \\
                      --output vision/gauge-reader -- python train.py
    """  # noqa: D301 -- \b keeps click from wrapping the example
    asked = Asked(**options)
    with connected() as client:
        offer = _quote(client, asked)
        if not as_json:
            with redirect_stdout(sys.stderr):  # standard output is for what the job writes
                _show(offer, asked)
        if not yes:
            require_yes("Accept the quote and hold these credits?")
        job: dict[str, Any] = client.mutate(ACCEPT_QUOTE, {"quoteId": offer["id"]})["job"]
        if detach:
            _tell_detached(job, as_json=as_json)
            return
        note(f"Job {job['id']} is {job['state']}.")
        code = _follow(client, job["id"], as_json=as_json)
        ended: dict[str, Any] = client.execute(documents.JOB, {"id": job["id"]})["node"]
        folders = [] if no_fetch or code is not Exit.OK else _fetch(client, ended, into)
    if as_json:
        print_json({**ended, "folders": folders})
    else:
        charge = ended["charge"]
        print_line(f"{ended['name']} {ended['state']}: {charge['captured']} credits, {charge['released']} came back.")
    raise click.exceptions.Exit(code)


def _quote(client: Client, asked: Asked) -> dict[str, Any]:
    team, programme = team_and_programme(client, asked)
    job = job_input(client, asked, {"image": asked.image} if asked.image else {})
    if not asked.image:
        job["source"] = {"packageId": _package(client, team, asked.folder)}
    found: dict[str, Any] = client.mutate(REQUEST_QUOTE, {"team": team, "programme": programme, "job": job})["quote"]
    return {"team": team, "programme": programme, **found}


def _package(client: Client, team: str, folder: Path) -> str:
    rules = ignore_rules(folder)
    files = list(files_to_pack(folder, rules.is_ignored))
    total_bytes = sum(source.stat().st_size for _, source in files)
    note(f"Packing {file_count(len(files))}, {size(total_bytes)}, of {folder.resolve()}{rules.told}.")
    with bar("Uploading the package") as tell:
        package = client.upload_package(team, folder, tell, rules.is_ignored)
    package_id: str = package["id"]
    return package_id


def _show(offer: dict[str, Any], asked: Asked) -> None:
    begins = moment(offer["predictedStart"]) or "not known yet"
    energy = offer["predictedEnergyKwh"]
    print_facts(
        [
            ("job", f"{asked.job_name}: {' '.join(asked.command)}"),
            ("for", f"{offer['team']}, on {offer['programme']}"),
            ("price", f"{offer['estimatedPrice']} credits for all of {span(asked.walltime)}"),
            ("hold", f"{offer['hold']} credits, the worst case; what is not used comes back"),
            ("starts", f"{begins}; void where it has not by {moment(offer['startBy'])}"),
            ("energy", f"{energy:.3g} kWh" if energy is not None else None),
            ("pools", [pool["name"] for pool in offer["eligiblePools"]]),
            ("valid until", moment(offer["expiresAt"])),
        ]
    )
    if len(offer["segments"]) > 1:
        print_heading("Rates")
        rows = [
            [
                moment(part["startsAt"]),
                moment(part["endsAt"]),
                part["pool"]["name"],
                part["creditsPerHour"],
                part["credits"],
            ]
            for part in offer["segments"]
        ]
        print_table(["FROM", "TO", "POOL", "CREDITS/HOUR", "CREDITS"], rows, empty="")
    for left_out in offer["excludedPools"]:
        note(f"Not on {left_out['pool']['name']}: {left_out['reason']['message']}")
    for suggestion in offer["suggestions"]:
        note(f"Before you spend: {suggestion['message']}")


def _follow(client: Client, job_id: str, *, as_json: bool) -> Exit:
    """To the end, over any number of Ctrl-C."""
    follower = Follower(client, job_id)
    while True:
        try:
            # With --json standard output is one document at the end.
            with redirect_stdout(sys.stderr if as_json else sys.stdout):
                return follower.to_end()
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                message = f"Interrupted; the job goes on: `guildhall logs -f {job_id}`, or `guildhall cancel {job_id}`."
                raise CommandFailed(message, Exit.INTERRUPTED) from None
            if _stop_or_detach() == "detach":
                note(f"The job goes on; follow it with `guildhall logs -f {job_id}`.")
                raise click.exceptions.Exit(Exit.OK) from None
            client.mutate(CANCEL_JOB, {"jobId": job_id, "reason": "stopped with Ctrl-C on the command line"})
            note("Stopping the job.")


def _stop_or_detach() -> str:
    """A second Ctrl-C at the question leaves the job alone: only a clear word stops it."""
    try:
        answer = click.prompt(
            "\nStop the job, or detach and leave it running?",
            type=click.Choice(["stop", "detach"]),
            default="detach",
            err=True,
        )
    except click.Abort:
        return "detach"
    return str(answer)


def _fetch(client: Client, job: dict[str, Any], into: Path | None) -> list[str]:
    folders = []
    for output in job["outputs"]:
        version = output["modelVersion"]
        if version is None:
            continue
        model = client.execute(MODEL_FILES, {"id": version["id"], "first": 1, "after": None})["node"]["model"]
        name = f"{model['team']['name']}/{model['name']}"
        brought = bring(client, MODEL_FILES, version["id"], name, version["number"], into)
        note(brought.sentence)
        folders.append(str(brought.folder))
    return folders


def _tell_detached(job: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    print_line(job["id"])
    note(f"Follow it with `guildhall logs -f {job['id']}`.")
