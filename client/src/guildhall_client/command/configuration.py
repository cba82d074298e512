"""apply: an organisation as a file, with a plan before anything is done."""

from collections import Counter
from pathlib import Path
from typing import Any

import click

from guildhall_client.command.asking import require_yes
from guildhall_client.command.connection import connected
from guildhall_client.command.documents.configuration import APPLY_CONFIGURATION
from guildhall_client.command.exits import CommandFailed, Exit
from guildhall_client.command.options import json_option, yes_option
from guildhall_client.command.printing import note, print_json, print_line
from guildhall_client.command.yaml_files import load_mapping

PARTS = (
    "teams", "members", "serviceAccounts", "programmes", "periods", "pools", "priceLists", "purposes",
)  # fmt: skip
_SIGNS = {"CREATED": ("+", "green"), "UPDATED": ("~", "yellow"), "REMOVED": ("-", "red")}


@click.command
@click.option(
    "--file", "-f", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
    help="A YAML file of teams, members, serviceAccounts, programmes, periods, pools, priceLists, purposes.",
)  # fmt: skip
@click.option("--plan", "only_plan", is_flag=True, help="Show the plan, and stop: with 7 where something would change.")
@yes_option
@json_option
def apply(path: Path, only_plan: bool, yes: bool, as_json: bool) -> None:
    """Make an organisation what a file says: show the plan, ask, apply all of it or nothing.

    What is named is made or changed; nothing else is touched. Whoever is named holds exactly the roles that are listed
    for that place, and a price list has exactly its rates: what they had besides is in the plan as removed.
    """
    configuration = load_mapping(path)
    unknown = sorted(set(configuration) - set(PARTS))
    if unknown:
        raise CommandFailed(f"{path} has {', '.join(unknown)}, which is none of {', '.join(PARTS)}.", Exit.USAGE)
    if as_json and not (only_plan or yes):
        raise click.UsageError("With --json say --yes or --plan: a program is not asked.")
    with connected() as client:
        changes = client.mutate(APPLY_CONFIGURATION, {**configuration, "dryRun": True})["changes"]
        if not as_json:
            _show(changes)
        wanted = sum(change["action"] != "UNCHANGED" for change in changes)
        if wanted and not only_plan:
            if not yes:
                require_yes(f"Make these {wanted} changes?")
            changes = client.mutate(APPLY_CONFIGURATION, {**configuration, "dryRun": False})["changes"]
    if as_json:
        print_json({"applied": not only_plan, "changes": changes})
    elif not wanted:
        note("Everything is so already.")
    elif not only_plan:
        note(f"{wanted} changes are made.")
    if wanted and only_plan:
        raise click.exceptions.Exit(Exit.WOULD_CHANGE)


def _show(changes: list[dict[str, Any]]) -> None:
    for change in changes:
        if change["action"] != "UNCHANGED":
            sign, style = _SIGNS[change["action"]]
            print_line(f"{sign} {change['kind']} {change['name']}", style)
            for difference in change["differences"]:
                print_line(f"    {_told(difference, new=change['action'] == 'CREATED')}", style)
    counts = Counter(change["action"] for change in changes)
    print_line(
        f"Plan: {counts['CREATED']} to make, {counts['UPDATED']} to change, {counts['REMOVED']} to remove, "
        f"{counts['UNCHANGED']} as they are."
    )


def _told(difference: dict[str, Any], *, new: bool) -> str:
    """A field with what it was and will be; what is put into or taken out of a thing that is there has a sign."""
    field, before, after = difference["field"], difference["before"], difference["after"]
    if before is None:
        return f"{'' if new else '+ '}{field}: {after}"
    return f"- {field}: {before}" if after is None else f"{field}: {before} → {after}"
