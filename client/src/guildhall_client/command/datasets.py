"""dataset show, register, upload, preview, download."""

from pathlib import Path
from typing import Any

import click

from guildhall_client.command.connection import connected
from guildhall_client.command.documents.datasets import DATASET_FILES, REGISTER_DATASET, SHOW_DATASET
from guildhall_client.command.downloading import download_version
from guildhall_client.command.exits import CommandFailed, NoSuchThing
from guildhall_client.command.options import DAY, choice, json_option
from guildhall_client.command.printing import (
    moment,
    note,
    print_facts,
    print_heading,
    print_json,
    print_line,
    print_table,
)
from guildhall_client.command.references import UNVERSIONED, VERSIONED, Reference, find_dataset, find_dataset_version
from guildhall_client.command.transfers import bar, files_of, folder_state, upload_key
from guildhall_client.command.yaml_files import load_list


@click.command
@click.argument("dataset", type=UNVERSIONED, metavar="TEAM/NAME")
@json_option
def show(dataset: Reference, as_json: bool) -> None:
    """Show a data set's page: its legal record, its versions, and whether you may read it."""
    with connected() as client:
        found = client.execute(SHOW_DATASET, {"team": dataset.team, "name": dataset.name})["dataset"]
    if found is None:
        raise NoSuchThing(f"There is no data set {dataset} that you may see.")
    if as_json:
        print_json(found)
        return
    legal = found["legal"]
    access = found["viewerAccess"]
    grant = access["accessGrant"]
    may = (
        f"yes, until {moment(grant['validTo']) or 'further notice'}" if grant else "yes" if access["allowed"] else "no"
    )
    print_facts(
        [
            ("data set", str(dataset)),
            ("description", found["description"]),
            ("classification", found["classification"]),
            ("licence", legal["licence"]),
            ("legal basis", legal["legalBasis"]),
            ("consent", legal["consent"]),
            ("purposes", legal["permittedPurposes"]),
            ("kept until", legal["retentionEndsOn"]),
            ("regions", legal["regions"]),
            ("stewards", [f"{steward['name']} <{steward['email']}>" for steward in found["stewards"]]),
            ("you may read it", may),
            ("because", (access["reason"] or {}).get("message")),
        ]
    )
    print_heading(f"Versions ({found['versions']['totalCount']})")
    rows = [
        [f"@{each['number']}", each["state"], each["rows"], each["files"]["totalCount"], moment(each["createdAt"])]
        for each in found["versions"]["nodes"]
    ]
    print_table(["VERSION", "STATE", "ROWS", "FILES", "MADE"], rows, empty="No version yet.")


@click.command
@click.argument("dataset", type=UNVERSIONED, metavar="TEAM/NAME")
@click.option("--description", required=True, help="What is in it.")
@click.option(
    "--classification",
    type=choice("PUBLIC", "INTERNAL", "CONFIDENTIAL", "RESTRICTED"),
    required=True,
    help="How its bytes are guarded: the last two by access grant only.",
)
@click.option("--licence", required=True, help="As CC-BY-4.0.")
@click.option("--legal-basis", required=True, help="Why it may be here.")
@click.option(
    "--purpose", "purposes", multiple=True, required=True, help="For what it may be used; may be given often."
)
@click.option("--region", "regions", multiple=True, required=True, help="Where it may be; may be given often.")
@click.option("--steward", "stewards", multiple=True, required=True, help="The address of who decides; same.")
@click.option("--retention-ends", type=DAY, help="The last day, as 2030-12-31.")
@click.option("--consent", help="How the persons concerned agreed.")
@click.option("--visibility", type=choice("TEAM", "ORGANISATION"), default="ORGANISATION", show_default=True,
              help="Who may find it; to find it is not to read it.")  # fmt: skip
@json_option
def register(dataset: Reference, as_json: bool, **given: Any) -> None:  # noqa: ANN401 -- click's values
    """Register a data set with its legal record and its stewards; its files come with `dataset upload`."""
    legal = {
        "licence": given["licence"],
        "legalBasis": given["legal_basis"],
        "permittedPurposes": list(given["purposes"]),
        "regions": list(given["regions"]),
    }
    if given["retention_ends"]:
        legal["retentionEndsOn"] = given["retention_ends"]
    if given["consent"]:
        legal["consent"] = given["consent"]
    inputs = {
        "team": dataset.team,
        "name": dataset.name,
        "description": given["description"],
        "classification": given["classification"],
        "visibility": given["visibility"],
        "stewards": list(given["stewards"]),
        "legal": legal,
    }
    with connected() as client:
        made = client.mutate(REGISTER_DATASET, inputs)["dataset"]
    if as_json:
        print_json(made)
    else:
        print_line(f"{dataset} is registered, {made['classification']}.")


@click.command
@click.argument("dataset", type=UNVERSIONED, metavar="TEAM/NAME")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rows", type=click.IntRange(0), help="How many rows it has.")
@click.option(
    "--columns",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML list of columns: name, type, unit, personal.",
)
@json_option
def upload(dataset: Reference, folder: Path, rows: int | None, columns: Path | None, as_json: bool) -> None:
    """Upload a folder as the next version.

    Given again after it was cut off, it goes on with the parts that the server does not have yet.
    """
    details: dict[str, Any] = {}
    if columns is not None:
        details["columns"] = load_list(columns)
    if rows is not None:
        details["rows"] = str(rows)
    with connected() as client:
        dataset_id = find_dataset(client, dataset)
        with (
            upload_key(client.url, "data set version", [dataset_id, details, folder_state(folder)]) as key,
            bar(f"Uploading {folder}") as tell,
        ):
            version = client.upload_dataset_version(dataset_id, folder, {**details, "idempotencyKey": key}, tell)
    if as_json:
        print_json({**version, "state": "READY"})
    else:
        print_line(f"{dataset}@{version['number']} is READY.")


@click.command
@click.argument("version", type=VERSIONED, metavar="TEAM/NAME[@N]")
@click.argument("file", required=False)
@click.option("--rows", type=click.IntRange(1, 100), default=20, show_default=True, help="How many at most.")
@json_option
def preview(version: Reference, file: str | None, rows: int, as_json: bool) -> None:
    """Show the first rows of a table, a .csv or .parquet file of a version. It is a read, and recorded as one.

    FILE may be left out where the version has one table only. Under a narrowed grant it shows what the grant opens.
    """
    with connected() as client:
        files = files_of(client, DATASET_FILES, find_dataset_version(client, version).version_id)
        chosen = _table(files, version, file)
        shown = client.preview(chosen["url"], rows)
    if as_json:
        print_json({"path": chosen["path"], **shown})
        return
    print_table([f"{each['name']} ({each['type']})" for each in shown["columns"]], shown["rows"], empty="No rows.")
    if shown["hasMoreRows"]:
        note("There are more rows.")
    if shown["shortenedCells"]:
        note(f"{shown['shortenedCells']} long cells are shortened, as … tells.")


def _table(files: list[dict[str, Any]], version: Reference, path: str | None) -> dict[str, Any]:
    """The file that was named, or the only table."""
    known = [each for each in files if each["path"].lower().endswith((".csv", ".parquet", ".pq"))]
    found = [each for each in files if each["path"] == path] if path is not None else known
    there = ", ".join(each["path"] for each in known[:5]) + (", …" if len(known) > 5 else "")
    tables = f"its tables are {there}" if known else "it has no table (.csv or .parquet)"
    if path is not None and not found:
        raise NoSuchThing(f"{version} has no file {path!r}: {tables}.")
    if not found:
        raise NoSuchThing(f"In {version} is nothing to preview: {tables}.")
    if len(found) > 1:
        raise click.UsageError(f"Name one FILE of {version}: {tables}.")
    if found[0]["url"] is None:
        raise CommandFailed(f"{found[0]['path']} was announced, but never stored.")
    return found[0]


@click.command
@click.argument("version", type=VERSIONED, metavar="TEAM/NAME[@N]")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="The folder; by default NAME-vNUMBER.")
@json_option
def download(version: Reference, into: Path | None, as_json: bool) -> None:
    """Download a version's files: the one named, or the latest that is ready. Each read is recorded.

    Given again after it was cut off, it goes on where it was.
    """
    with connected() as client:
        found = find_dataset_version(client, version)
        download_version(client, DATASET_FILES, version, found, into, as_json=as_json)
