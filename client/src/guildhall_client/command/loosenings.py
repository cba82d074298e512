"""loosening ask, list, show, approve, refuse, withdraw."""

from typing import Any

import click

from guildhall_client.command.connection import connected
from guildhall_client.command.documents.loosenings import (
    ASK_LOOSENING,
    DECIDE_LOOSENING,
    LOOSENINGS,
    LOOSENINGS_TO_DECIDE,
    SHOW_LOOSENING,
    WITHDRAW_LOOSENING,
)
from guildhall_client.command.exits import NoSuchThing
from guildhall_client.command.options import DAY, choice, json_option, page_options
from guildhall_client.command.printing import (
    moment,
    note,
    print_facts,
    print_heading,
    print_json,
    print_line,
    print_table,
)
from guildhall_client.command.references import VERSIONED, Reference, find_model_version, written

_FINISHED = ("READY", "BLOCKED", "PUBLISHED")


@click.command
@click.argument("version", type=VERSIONED, metavar="TEAM/NAME[@VERSION]")
@click.option("--classification", type=choice("PUBLIC", "INTERNAL", "CONFIDENTIAL"), help="To be this at most.")
@click.option("--purpose", "purposes", multiple=True, help="To be permitted as well; may be given often.")
@click.option("--region", "regions", multiple=True, help="To be allowed as well; may be given often.")
@click.option("--kept-until", type=DAY, help="To be kept until this day.")
@click.option("--kept-without-end", is_flag=True, help="To be kept without an end.")
@click.option("--justification", required=True, help="Why less is left in it than in the data it was made from.")
@json_option
def ask(
    version: Reference,
    classification: str | None,
    purposes: tuple[str, ...],
    regions: tuple[str, ...],
    kept_until: str | None,
    kept_without_end: bool,
    justification: str,
    as_json: bool,
) -> None:
    """Ask the stewards that a model version inherits less from its data, in one property.

    It counts for the version and all that is made from it, once a steward of each data set that stands in the way has
    approved it, two where it is RESTRICTED.

    \b
        guildhall loosening ask maintenance/gauge-reader@1 --classification internal \\
                                --justification "the weights hold no picture"
    """  # noqa: D301 -- \b keeps click from wrapping the example
    given = {
        "classification": classification,
        "permittedPurposes": list(purposes),
        "regions": list(regions),
        "retentionEndsOn": kept_until,
        "keptWithoutEnd": kept_without_end,
    }
    wanted = {name: value for name, value in given.items() if value}
    if len(wanted) != 1:
        raise click.UsageError(
            "Say what is to be with one of --classification, --purpose, --region, --kept-until and --kept-without-end."
        )
    with connected() as client:
        found = find_model_version(client, version, _FINISHED)
        inputs = {"modelVersionId": found.version_id, "to": wanted, "justification": justification}
        asked = client.mutate(ASK_LOOSENING, inputs)["loosening"]
    if as_json:
        print_json(asked)
    else:
        print_line(f"{asked['id']} is {asked['state']}; its stewards decide.")


@click.command("list")
@click.option("--to-decide", is_flag=True, help="What waits for you as a steward, the oldest first.")
@click.option("--state", type=choice("PENDING", "APPROVED", "REFUSED", "WITHDRAWN"), help="In this state.")
@page_options
@json_option
def list_(to_decide: bool, state: str | None, limit: int, after: str | None, as_json: bool) -> None:
    """List loosenings that you may see, the newest first; with --to-decide what waits for you."""
    if to_decide and state is not None:
        raise click.UsageError("--to-decide and --state exclude one another.")
    variables: dict[str, Any] = {"first": limit, "after": after}
    with connected() as client:
        if to_decide:
            found = client.execute(LOOSENINGS_TO_DECIDE, variables)["viewer"]["looseningsToDecide"]
        else:
            wanted = {"state": {"eq": state}} if state else None
            found = client.execute(LOOSENINGS, {**variables, "filter": wanted})["loosenings"]
    if as_json:
        print_json(found)
        return
    rows = [
        [
            each["id"],
            each["state"],
            written(each["modelVersion"]),
            _wanted(each),
            each["requester"]["name"],
            each["justification"],
        ]
        for each in found["nodes"]
    ]
    print_table(["LOOSENING", "STATE", "MODEL VERSION", "TO BE", "ASKED BY", "JUSTIFICATION"], rows, empty="None here.")
    if found["pageInfo"]["hasNextPage"]:
        note(f"There are more: --after {found['pageInfo']['endCursor']}")


@click.command
@click.argument("loosening", metavar="LOOSENING")
@json_option
def show(loosening: str, as_json: bool) -> None:
    """Show what is asked for, the data that stands in its way, and who has approved it."""
    with connected() as client:
        found = client.execute(SHOW_LOOSENING, {"id": loosening})["node"]
    if not found:
        raise NoSuchThing(f"There is no loosening {loosening} that you may see; `guildhall loosening list` lists them.")
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            ("loosening", found["id"]),
            ("model version", written(found["modelVersion"])),
            ("to be", _wanted(found)),
            ("because", found["justification"]),
            ("asked by", _person(found["requester"], found["createdAt"])),
            ("state", found["state"]),
            ("decided by", _person(found["decidedBy"], found["decidedAt"])),
            ("reason", found["decisionReason"]),
            ("withdrawn by", _person(found["withdrawnBy"], found["withdrawnAt"])),
            ("why withdrawn", found["withdrawalReason"]),
        ]
    )
    print_heading("Data that stands in the way")
    rows = [
        [
            written(source["datasetVersion"]),
            source["classification"],
            source["permittedPurposes"],
            source["regions"],
            source["retentionEndsOn"],
            "" if source["covered"] else "stricter since then: restricts in full",
        ]
        for source in found["sources"]
    ]
    columns = ["DATA", "CLASSIFICATION", "PURPOSES", "REGIONS", "KEPT UNTIL", ""]
    print_table(columns, rows, empty="None that you may see.")
    if found["approvals"]:
        print_heading("Approved by")
        approvals = [
            [each["person"]["name"], moment(each["approvedAt"]), each["reason"]] for each in found["approvals"]
        ]
        print_table(["STEWARD", "WHEN", "REASON"], approvals, empty="")


@click.command
@click.argument("loosening", metavar="LOOSENING")
@click.option("--reason", help="It stays on record.")
@json_option
def approve(loosening: str, reason: str | None, as_json: bool) -> None:
    """Approve a loosening; for stewards of its data, never for whoever asked. The last approval puts it in force."""
    _decide({"looseningId": loosening, "decision": "APPROVE", "reason": reason}, as_json=as_json)


@click.command
@click.argument("loosening", metavar="LOOSENING")
@click.option("--reason", required=True, help="Why; whoever asked will read it.")
@json_option
def refuse(loosening: str, reason: str, as_json: bool) -> None:
    """Refuse a loosening, with a reason; one steward is enough."""
    _decide({"looseningId": loosening, "decision": "REFUSE", "reason": reason}, as_json=as_json)


@click.command
@click.argument("loosening", metavar="LOOSENING")
@click.option("--reason", required=True, help="Why; it stays on record.")
@json_option
def withdraw(loosening: str, reason: str, as_json: bool) -> None:
    """End a loosening at once: the data restricts in full again, all that was made from the version as well."""
    with connected() as client:
        ended = client.mutate(WITHDRAW_LOOSENING, {"looseningId": loosening, "reason": reason})["loosening"]
    _tell(ended, as_json=as_json)


def _decide(inputs: dict[str, Any], *, as_json: bool) -> None:
    with connected() as client:
        decided = client.mutate(DECIDE_LOOSENING, inputs)["loosening"]
    _tell(decided, as_json=as_json)


def _tell(loosening: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(loosening)
        return
    more = "; another steward has to approve it too" if loosening["state"] == "PENDING" else ""
    print_line(f"{loosening['id']} is {loosening['state']}{more}.")


def _wanted(loosening: dict[str, Any]) -> str:
    """What is to be, in words; a property has one kind of value."""
    match loosening["property"]:
        case "CLASSIFICATION":
            return str(loosening["classification"])
        case "PERMITTED_PURPOSES":
            return f"for {', '.join(loosening['permittedPurposes'])}"
        case "REGIONS":
            return f"in {', '.join(loosening['regions'])}"
        case _:
            day = loosening["retentionEndsOn"]
            return f"kept until {day}" if day else "kept without end"


def _person(person: dict[str, Any] | None, at: str | None) -> str | None:
    return f"{person['name']}, {moment(at)}" if person else None
