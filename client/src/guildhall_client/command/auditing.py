"""audit who-read."""

from typing import Any

import click

from guildhall_client.client import Client
from guildhall_client.command.connection import connected
from guildhall_client.command.documents.access import WHO_READ
from guildhall_client.command.options import MOMENT, json_option, page_options
from guildhall_client.command.printing import moment, note, print_json, print_table
from guildhall_client.command.references import (
    VERSIONED,
    Reference,
    find_dataset,
    find_dataset_version,
    find_model_version,
)


@click.command("who-read")
@click.argument("dataset", type=VERSIONED, required=False, metavar="[TEAM/NAME[@N]]")
@click.option("--model", type=VERSIONED, metavar="TEAM/NAME@VERSION", help="A model version, rather than a data set.")
@click.option("--from", "from_", type=MOMENT, help="Not before this moment.")
@click.option("--to", type=MOMENT, help="Before this moment.")
@page_options
@json_option
def who_read(
    dataset: Reference | None,
    model: Reference | None,
    from_: str | None,
    to: str | None,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """Who read this data, when, for what and under which access grant, the newest first; and who was refused.

    A data set without a version stands for all of its versions.
    """
    if (dataset is None) == (model is None):
        raise click.UsageError("Name a data set, or a model version with --model.")
    with connected() as client:
        resource_id = _resource_id(client, dataset, model)
        variables = {"resourceId": resource_id, "from": from_, "to": to, "first": limit, "after": after}
        found = client.execute(WHO_READ, variables)["auditEvents"]
    if as_json:
        print_json(found)
        return
    columns = ["WHEN", "WHO", "FOR WHOM", "OUTCOME", "PURPOSE", "GRANT", "ROWS", "BYTES"]
    print_table(columns, [_row(event) for event in found["nodes"]], empty="Nobody did.")
    if found["pageInfo"]["hasNextPage"]:
        note(f"There are more: --after {found['pageInfo']['endCursor']}")


def _resource_id(client: Client, dataset: Reference | None, model: Reference | None) -> str:
    if model is not None:
        return find_model_version(client, model).version_id
    assert dataset is not None
    return find_dataset_version(client, dataset).version_id if dataset.version else find_dataset(client, dataset)


def _row(event: dict[str, Any]) -> list[Any]:
    return [
        moment(event["occurredAt"]),
        _caller(event["actor"]),
        _caller(event["onBehalfOf"]),
        event["outcome"],
        event["purpose"],
        (event["accessGrant"] or {}).get("id"),
        event["rows"],
        event["bytes"],
    ]


def _caller(caller: dict[str, Any] | None) -> str:
    if caller is None:
        return ""
    return str(caller.get("email") or caller.get("name") or caller["__typename"])
