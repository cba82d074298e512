"""apply: an organisation as a file, with a plan before anything is done."""

from pathlib import Path
from typing import Any

import click

from guildhall_client.command.asking import require_yes
from guildhall_client.command.connection import connected
from guildhall_client.command.differences import Differences
from guildhall_client.command.documents import APPLY_CONFIGURATION
from guildhall_client.command.exits import CommandFailed, Exit
from guildhall_client.command.options import json_option, yes_option
from guildhall_client.command.printing import note, print_json, print_line
from guildhall_client.command.yaml_files import load_mapping

PARTS = (
    "teams", "members", "serviceAccounts", "programmes", "periods", "pools", "priceLists", "purposes",
)  # fmt: skip
_SIGNS = {"CREATED": ("+", "green"), "UPDATED": ("~", "yellow"), "UNCHANGED": ("=", "dim")}


@click.command
@click.option(
    "--file", "-f", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
    help="A YAML file of teams, members, serviceAccounts, programmes, periods, pools, priceLists, purposes.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the plan, and stop.")
@yes_option
@json_option
def apply(path: Path, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Make an organisation what a file says: show the plan, ask, apply all of it or nothing.

    What is named is made or changed; nothing else is touched.
    """
    configuration = load_mapping(path)
    unknown = sorted(set(configuration) - set(PARTS))
    if unknown:
        raise CommandFailed(f"{path} has {', '.join(unknown)}, which is none of {', '.join(PARTS)}.", Exit.USAGE)
    if as_json and not (dry_run or yes):
        raise click.UsageError("With --json say --yes or --dry-run: a program is not asked.")
    with connected() as client:
        plan = client.mutate(APPLY_CONFIGURATION, {**configuration, "dryRun": True})["changes"]
        if not as_json:
            _show(plan, Differences(client, configuration, plan))
        changes = [change for change in plan if change["action"] != "UNCHANGED"]
        if not dry_run and changes:
            if not yes:
                require_yes(f"Make these {len(changes)} changes?")
            plan = client.mutate(APPLY_CONFIGURATION, {**configuration, "dryRun": False})["changes"]
    if as_json:
        print_json({"applied": not dry_run, "changes": plan})
    elif not changes:
        note("Everything is so already.")
    elif not dry_run:
        note(f"{len(changes)} changes are made.")


def _show(plan: list[dict[str, Any]], differences: Differences) -> None:
    for change in plan:
        sign, style = _SIGNS[change["action"]]
        if change["action"] != "UNCHANGED":
            print_line(f"{sign} {change['kind']} {change['name']}", style)
            for line in differences.lines(change):
                print_line(f"    {line}", style)
    unchanged = sum(change["action"] == "UNCHANGED" for change in plan)
    created = sum(change["action"] == "CREATED" for change in plan)
    print_line(f"Plan: {created} to make, {len(plan) - created - unchanged} to change, {unchanged} as they are.")
