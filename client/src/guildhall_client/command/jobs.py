"""jobs, logs, cancel."""

import json
from typing import Any

import click

from guildhall_client.client import Client
from guildhall_client.command.connection import connected
from guildhall_client.command.documents import CANCEL_JOB, JOBS, LOG_TAIL
from guildhall_client.command.exits import Exit, NoSuchThing
from guildhall_client.command.options import MOMENT, choice, json_option, page_options
from guildhall_client.command.printing import moment, note, print_json, print_line, print_table

STATES = (
    "QUEUED", "ADMITTED", "STARTING", "RUNNING", "STOPPING", "SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "EXPIRED",
)  # fmt: skip
LINES_MAX = 1_000


@click.command
@click.option("--team", help="Of this team.")
@click.option("--state", "states", multiple=True, type=choice(*STATES), help="In this state; may be given often.")
@click.option("--name", help="Of this name.")
@click.option("--since", type=MOMENT, help="Made at or after this moment.")
@page_options
@json_option
def jobs(
    team: str | None,
    states: tuple[str, ...],
    name: str | None,
    since: str | None,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """List jobs, the newest first."""
    wanted: dict[str, Any] = {}
    if team:
        wanted["team"] = {"eq": team}
    if states:
        wanted["state"] = {"in": list(states)}
    if name:
        wanted["name"] = {"eq": name}
    if since:
        wanted["createdAt"] = {"from": since}
    with connected() as client:
        found = client.execute(JOBS, {"first": limit, "after": after, "filter": wanted or None})["jobs"]
    if as_json:
        print_json(found)
        return
    rows = [_row(job) for job in found["nodes"]]
    print_table(["JOB", "NAME", "TEAM", "STATE", "POOL", "MADE", "CHARGED", "WHY"], rows, empty="No such jobs.")
    if found["pageInfo"]["hasNextPage"]:
        note(f"There are more: --after {found['pageInfo']['endCursor']}")


@click.command
@click.argument("job")
@click.option("--follow", "-f", is_flag=True, help="Go on as lines come, to the job's end.")
@click.option(
    "--lines", "-n", type=click.IntRange(1, LINES_MAX), default=100, show_default=True, help="The last lines."
)
@json_option
def logs(job: str, follow: bool, lines: int, as_json: bool) -> None:
    """Show the last lines that a job wrote, or with -f all of them as they come.

    With -f the exit code is 6 where the job ends without success.
    """
    with connected() as client:
        if follow:
            find_job(client, job)
            raise click.exceptions.Exit(Follower(client, job, as_json=as_json).to_end())
        found = find_job(client, job, lines)
    if as_json:
        print_json(found)
        return
    for line in (found["logTail"] or "").splitlines():
        print_line(line)


@click.command
@click.argument("job")
@click.option("--reason", default="cancelled on the command line", show_default=True, help="It stays on record.")
@json_option
def cancel(job: str, reason: str, as_json: bool) -> None:
    """End a job: at once where it waits, by a stop where it runs."""
    with connected() as client:
        ended = client.mutate(CANCEL_JOB, {"jobId": job, "reason": reason})["job"]
    if as_json:
        print_json(ended)
    else:
        print_line(f"{ended['id']} is {ended['state']}.")


def find_job(client: Client, job_id: str, lines: int = 1) -> dict[str, Any]:
    """A job with the tail of its log; raises `NoSuchThing`."""
    found: dict[str, Any] | None = client.execute(LOG_TAIL, {"id": job_id, "lines": lines})["node"]
    if not found:
        raise NoSuchThing(f"There is no job {job_id} that you may see; `guildhall jobs` lists them.")
    return found


class Follower:
    """Prints what comes of a job: its lines on standard output, its states beside them. Interrupted, it can go on."""

    def __init__(self, client: Client, job_id: str, *, as_json: bool = False) -> None:
        self._client = client
        self._job_id = job_id
        self._as_json = as_json
        self._cursor: str | None = None
        self._state = ""

    def to_end(self) -> Exit:
        """Follow until the job has ended; after an interruption at most the last line comes twice."""
        for change in self._client.follow_job(self._job_id, self._cursor):
            self._print(change)
            self._state = change["state"] or self._state
            self._cursor = change["cursor"]
        return Exit.OK if self._state == "SUCCEEDED" else Exit.JOB_FAILED

    def _print(self, change: dict[str, Any]) -> None:
        if self._as_json:  # JSON lines: a stream has no end to wait for
            click.echo(json.dumps(change, ensure_ascii=False))
        elif change["logLine"]:
            print_line(change["logLine"]["text"])
        elif change["state"]:
            reason = (change["stateReason"] or {}).get("message", "")
            note(f"— {change['state']}{': ' + reason if reason else ''}")


def _row(job: dict[str, Any]) -> list[Any]:
    reason = (job["stateReason"] or {}).get("message", "")
    return [
        job["id"],
        job["name"],
        job["team"]["name"],
        job["state"],
        (job["pool"] or {}).get("name"),
        moment(job["createdAt"]),
        job["charge"]["captured"],
        reason,
    ]
