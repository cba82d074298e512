"""access request, list, approve, refuse, withdraw."""

from typing import Any

import click

from guildhall_client.client import Client
from guildhall_client.command.connection import connected
from guildhall_client.command.documents.access import (
    ACCESS_GRANTS,
    ACCESS_REQUESTS,
    ACCESS_TO_DECIDE,
    DECIDE_ACCESS,
    REQUEST_ACCESS,
    WITHDRAW_ACCESS,
)
from guildhall_client.command.options import DURATION, choice, json_option, page_options
from guildhall_client.command.printing import moment, note, print_json, print_line, print_table, span
from guildhall_client.command.references import (
    VERSIONED,
    Reference,
    find_dataset,
    find_dataset_version,
    find_model_version,
    written,
)


@click.command
@click.option(
    "--dataset", "datasets", type=VERSIONED, multiple=True, metavar="TEAM/NAME[@N]", help="May be given often."
)
@click.option("--model", "models", type=VERSIONED, multiple=True, metavar="TEAM/NAME[@VERSION]", help="Same.")
@click.option("--team", help="For the members of this team.")
@click.option("--email", help="Or for one person.")
@click.option("--purpose", required=True, help="What for; one that the data permits.")
@click.option("--justification", required=True, help="Why, in a sentence for the steward and the record.")
@click.option("--for", "duration", type=DURATION, required=True, help="How long, as 14d.")
@json_option
def request(
    datasets: tuple[Reference, ...],
    models: tuple[Reference, ...],
    team: str | None,
    email: str | None,
    purpose: str,
    justification: str,
    duration: int,
    as_json: bool,
) -> None:
    """Ask the stewards that a team or a person may read some data, for one purpose and a time.

    \b
        guildhall access request --dataset maintenance/gauge-digits --team quality --for 14d \\
                                 --purpose defect-detection --justification "our presses carry the same gauges"
    """  # noqa: D301 -- \b keeps click from wrapping the example
    if not datasets and not models:
        raise click.UsageError("Say for what with --dataset or --model.")
    if (team is None) == (email is None):
        raise click.UsageError("Say for whom with one of --team and --email.")
    with connected() as client:
        inputs = {
            "resourceIds": [
                *(_dataset_id(client, each) for each in datasets),
                *(find_model_version(client, each, ("PUBLISHED",)).version_id for each in models),
            ],
            "beneficiary": {"team": team} if team else {"email": email},
            "purpose": purpose,
            "justification": justification,
            "durationSeconds": duration,
        }
        made = client.mutate(REQUEST_ACCESS, inputs)["accessRequest"]
    if as_json:
        print_json(made)
    else:
        print_line(f"{made['id']} is {made['state']}; a steward decides.")


@click.command("list")
@click.option("--to-decide", is_flag=True, help="What waits for you as a steward.")
@click.option("--grants", is_flag=True, help="What was granted, rather than asked for.")
@click.option("--state", type=choice("PENDING", "APPROVED", "REFUSED"), help="Requests in this state.")
@page_options
@json_option
def list_(to_decide: bool, grants: bool, state: str | None, limit: int, after: str | None, as_json: bool) -> None:
    """List requests for access that you may see; with --grants the grants, with --to-decide what waits for you."""
    if sum((to_decide, grants, state is not None)) > 1:
        raise click.UsageError("--to-decide, --grants and --state exclude one another.")
    with connected() as client:
        found = _page(client, {"first": limit, "after": after}, to_decide=to_decide, grants=grants, state=state)
    if as_json:
        print_json(found)
        return
    if grants:
        rows = [_grant_row(grant) for grant in found["nodes"]]
        print_table(["GRANT", "FOR", "DATA", "PURPOSE", "UNTIL", "APPROVED BY"], rows, empty="No grants.")
    else:
        rows = [_request_row(asked) for asked in found["nodes"]]
        columns = ["REQUEST", "STATE", "FOR", "DATA", "PURPOSE", "HOW LONG", "JUSTIFICATION"]
        print_table(columns, rows, empty="No requests.")
    if found["pageInfo"]["hasNextPage"]:
        note(f"There are more: --after {found['pageInfo']['endCursor']}")


@click.command
@click.argument("request", metavar="REQUEST")
@click.option("--reason", help="It stays on record.")
@click.option("--for", "duration", type=DURATION, help="A shorter time than was asked for.")
@click.option("--column", "columns", multiple=True, help="Only these columns; may be given often.")
@json_option
def approve(request: str, reason: str | None, duration: int | None, columns: tuple[str, ...], as_json: bool) -> None:
    """Approve a request, in whole or narrowed; for stewards, never for whoever asked."""
    narrow: dict[str, Any] = {}
    if duration is not None:
        narrow["durationSeconds"] = duration
    if columns:
        narrow["columns"] = list(columns)
    inputs: dict[str, Any] = {"accessRequestId": request, "decision": "APPROVE"}
    if reason is not None:
        inputs["reason"] = reason
    if narrow:
        inputs["narrow"] = narrow
    _decide(inputs, as_json=as_json)


@click.command
@click.argument("request", metavar="REQUEST")
@click.option("--reason", required=True, help="Why; whoever asked will read it.")
@json_option
def refuse(request: str, reason: str, as_json: bool) -> None:
    """Refuse a request, with a reason."""
    _decide({"accessRequestId": request, "decision": "REFUSE", "reason": reason}, as_json=as_json)


@click.command
@click.argument("grant", metavar="GRANT")
@click.option("--reason", required=True, help="Why; it stays on record.")
@json_option
def withdraw(grant: str, reason: str, as_json: bool) -> None:
    """End a grant at once; for stewards, for who asked, and for who has it."""
    with connected() as client:
        ended = client.mutate(WITHDRAW_ACCESS, {"accessGrantId": grant, "reason": reason})["accessGrant"]
    if as_json:
        print_json(ended)
    else:
        print_line(f"{ended['id']} ended {moment(ended['validTo'])}.")


def _decide(inputs: dict[str, Any], *, as_json: bool) -> None:
    with connected() as client:
        decided = client.mutate(DECIDE_ACCESS, inputs)
    request, grant = decided["accessRequest"], decided["accessGrant"]
    if as_json:
        print_json({"accessRequest": request, "accessGrant": grant})
    elif grant:
        print_line(f"{request['id']} is {request['state']}: {grant['id']} until {moment(grant['validTo'])}.")
    else:
        print_line(f"{request['id']} is {request['state']}.")


def _dataset_id(client: Client, reference: Reference) -> str:
    """The data set as a whole, all versions to come included, unless one is named."""
    if reference.version is None:
        return find_dataset(client, reference)
    return find_dataset_version(client, reference).version_id


def _page(
    client: Client, variables: dict[str, Any], *, to_decide: bool, grants: bool, state: str | None
) -> dict[str, Any]:
    if to_decide:
        found: dict[str, Any] = client.execute(ACCESS_TO_DECIDE, variables)["viewer"]["accessRequestsToDecide"]
    elif grants:
        found = client.execute(ACCESS_GRANTS, variables)["accessGrants"]
    else:
        wanted = {"state": {"eq": state}} if state else None
        found = client.execute(ACCESS_REQUESTS, {**variables, "filter": wanted})["accessRequests"]
    return found


def _request_row(asked: dict[str, Any]) -> list[Any]:
    return [
        asked["id"],
        asked["state"],
        _beneficiary(asked),
        [written(resource) for resource in asked["resources"]],
        asked["purpose"],
        span(asked["durationSeconds"]),
        asked["justification"],
    ]


def _grant_row(grant: dict[str, Any]) -> list[Any]:
    return [
        grant["id"],
        _beneficiary(grant),
        [written(resource) for resource in grant["resources"]],
        grant["purpose"] or "all permitted",
        "withdrawn" if grant["withdrawnAt"] else moment(grant["validTo"]) or "no end",
        (grant["approvedBy"] or {}).get("name"),
    ]


def _beneficiary(row: dict[str, Any]) -> str:
    if row["team"]:
        return f"team {row['team']['name']}"
    return row["person"]["email"] if row["person"] else ""
