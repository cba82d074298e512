"""lesson add."""

from pathlib import Path
from typing import Any

import click

from guildhall_client.client import Client
from guildhall_client.command.connection import connected
from guildhall_client.command.documents.models import RECORD_LESSON
from guildhall_client.command.exits import CommandFailed, Exit
from guildhall_client.command.options import choice, json_option
from guildhall_client.command.printing import print_json, print_line
from guildhall_client.command.references import (
    VERSIONED,
    Reference,
    find_dataset,
    find_dataset_version,
    find_model_version,
)


@click.command
@click.option("--model", type=VERSIONED, metavar="TEAM/NAME[@VERSION]", help="About this version of a model.")
@click.option("--dataset", type=VERSIONED, metavar="TEAM/NAME[@N]", help="About this data set, or a version of it.")
@click.option("--job", metavar="ID", help="About this job, also one that failed.")
@click.option("--summary", required=True, help="One line.")
@click.option("--outcome", type=choice("WORKED", "FAILED", "MIXED"), required=True, help="Did it do what it was for?")
@click.option("--body", default="", help="The whole lesson, in Markdown.")
@click.option("--body-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The same from a file.")
@click.option("--dont-use-when", help="When others should rather not.")
@click.option("--tag", "tags", multiple=True, help="May be given often.")
@json_option
def add(
    model: Reference | None,
    dataset: Reference | None,
    job: str | None,
    summary: str,
    outcome: str,
    body: str,
    body_file: Path | None,
    dont_use_when: str | None,
    tags: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write a lesson on a model version, a data set or a job; what failed is worth as much as what worked.

    \b
        guildhall lesson add --model vision/gauge-reader@3 --outcome MIXED \\
                             --summary "Fails on glare; normalise contrast first"
    """  # noqa: D301 -- \b keeps click from wrapping the example
    if sum(subject is not None for subject in (model, dataset, job)) != 1:
        raise click.UsageError("Say what it is about with one of --model, --dataset and --job.")
    if body_file is not None:
        try:
            body = body_file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise CommandFailed(f"{body_file} is no text in UTF-8.", Exit.USAGE) from None
    with connected() as client:
        inputs: dict[str, Any] = {
            "subjectId": _subject_id(client, model, dataset, job),
            "summary": summary,
            "body": body,
            "outcome": outcome,
            "tags": list(tags),
        }
        if dont_use_when is not None:
            inputs["dontUseWhen"] = dont_use_when
        lesson = client.mutate(RECORD_LESSON, inputs)["lesson"]
    if as_json:
        print_json(lesson)
    else:
        print_line(f"Kept as {lesson['id']}.")


def _subject_id(client: Client, model: Reference | None, dataset: Reference | None, job: str | None) -> str:
    if model is not None:
        return find_model_version(client, model).version_id
    if dataset is not None:
        return find_dataset_version(client, dataset).version_id if dataset.version else find_dataset(client, dataset)
    assert job is not None
    return job
