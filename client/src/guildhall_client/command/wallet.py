"""wallet."""

import click

from guildhall_client.command.connection import connected
from guildhall_client.command.documents.jobs import WALLET
from guildhall_client.command.exits import NoSuchThing
from guildhall_client.command.options import json_option
from guildhall_client.command.printing import moment, print_facts, print_heading, print_json, print_table


@click.command
@click.argument("team", envvar="GUILDHALL_TEAM")
@json_option
def wallet(team: str, as_json: bool) -> None:
    """Show a team's credits: what is available, what they are for, and where they went."""
    with connected() as client:
        found = client.execute(WALLET, {"team": team})["team"]
    if found is None:
        raise NoSuchThing(f"There is no team {team} that you may see.")
    if as_json:
        print_json(found)
        return
    held = found["wallet"]
    print_facts([("team", team), ("available", held["available"]), ("held", held["held"])])
    print_heading("Allocations")
    rows = [
        [
            allocation["programme"]["name"],
            moment(allocation["validTo"]),
            allocation["allocated"],
            allocation["captured"],
            allocation["held"],
            allocation["remaining"],
        ]
        for allocation in held["allocations"]["nodes"]
    ]
    columns = ["PROGRAMME", "UNTIL", "ALLOCATED", "CHARGED", "HELD", "REMAINING"]
    print_table(columns, rows, empty="No credits were allocated yet.")
    if held["transfers"]["nodes"]:
        print_heading("Last transfers")
        moves = [
            [moment(each["occurredAt"]), each["kind"], each["direction"], each["credits"], each["reason"]]
            for each in held["transfers"]["nodes"]
        ]
        print_table(["WHEN", "KIND", "DIRECTION", "CREDITS", "REASON"], moves, empty="")
