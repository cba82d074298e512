"""jobs, logs, cancel."""

import json
import time
from typing import Any, NoReturn

import click

from guildhall_client.client import Client
from guildhall_client.command.connection import connected
from guildhall_client.command.documents.jobs import CANCEL_JOB, JOBS, LOG_TAIL
from guildhall_client.command.exits import Exit, NoSuchThing
from guildhall_client.command.options import MOMENT, choice, json_option, page_options
from guildhall_client.command.printing import drawn, moment, note, print_json, print_line, print_table, redraws

STATES = (
    "QUEUED", "ADMITTED", "STARTING", "RUNNING", "STOPPING", "SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "EXPIRED",
)  # fmt: skip
LINES_MAX = 1_000
WATCH_SECONDS = 3
COLUMNS = ["JOB", "NAME", "TEAM", "STATE", "POOL", "MADE", "CHARGED", "WHY"]
EMPTY = "No such jobs."


@click.command
@click.option("--mine", is_flag=True, help="Those that you have submitted.")
@click.option("--team", help="Of this team.")
@click.option("--state", "states", multiple=True, type=choice(*STATES), help="In this state; may be given often.")
@click.option("--name", help="Of this name.")
@click.option("--since", type=MOMENT, help="Made at or after this moment.")
@click.option("--watch", "-w", is_flag=True, help=f"Draw the list again every {WATCH_SECONDS} seconds, until Ctrl-C.")
@page_options
@json_option
def jobs(
    mine: bool,
    team: str | None,
    states: tuple[str, ...],
    name: str | None,
    since: str | None,
    watch: bool,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """List jobs, the newest first.

    With --watch the list stays on the screen and shows what becomes of them; into a pipe or a file it is printed once.
    """
    if watch and as_json:
        raise click.UsageError("--watch is for people, --json for programs: give one of the two.")
    wanted: dict[str, Any] = {}
    if mine:
        wanted["submittedByViewer"] = True
    if team:
        wanted["team"] = {"eq": team}
    if states:
        wanted["state"] = {"in": list(states)}
    if name:
        wanted["name"] = {"eq": name}
    if since:
        wanted["createdAt"] = {"from": since}
    variables = {"first": limit, "after": after, "filter": wanted or None}
    with connected() as client:
        if watch and redraws():
            _watch(client, variables)
        found = client.execute(JOBS, variables)["jobs"]
    if as_json:
        print_json(found)
        return
    print_table(COLUMNS, map(_row, found["nodes"]), empty=EMPTY)
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


def _watch(client: Client, variables: dict[str, Any]) -> NoReturn:
    """To the interruption: jobs come and go, so no list is the last one."""
    with drawn() as draw:
        while True:
            draw(COLUMNS, map(_row, client.execute(JOBS, variables)["jobs"]["nodes"]), EMPTY)
            time.sleep(WATCH_SECONDS)


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
