"""inbox, inbox read, inbox unread."""

import json
from typing import Any

import click

from guildhall_client.command.catalogue import COMMANDS, GROUPS, ListedGroup
from guildhall_client.command.connection import connected
from guildhall_client.command.documents.inbox import (
    INBOX,
    MARK_NOTIFICATIONS_READ,
    MARK_NOTIFICATIONS_UNREAD,
    NOTIFICATION_ADDED,
)
from guildhall_client.command.options import choice, json_option, page_options
from guildhall_client.command.printing import moment, note, print_json, print_line, print_table

KINDS = (
    "JOB_ENDED", "HOLD_RELEASED", "ACCESS_ASKED", "ACCESS_DECIDED", "ACCESS_WITHDRAWN", "ACCESS_ENDS", "ACCESS_ALERT",
    "ALLOCATION_ENDS",
    "LOOSENING_ASKED",
    "LOOSENING_DECIDED",
    "LOOSENING_WITHDRAWN",
)  # fmt: skip


@click.group("inbox", cls=ListedGroup, listed=GROUPS["inbox"], help=COMMANDS["inbox"].text, invoke_without_command=True)
@click.option("--unread", is_flag=True, help="Only what you have not marked as read.")
@click.option("--kind", "kinds", type=choice(*KINDS), multiple=True, help="Only such; may be given often.")
@click.option("--follow", "-f", is_flag=True, help="Show what comes from now on, until Ctrl-C.")
@page_options
@json_option
@click.pass_context
def inbox(
    context: click.Context,
    unread: bool,
    kinds: tuple[str, ...],
    follow: bool,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """List what the caller was told, newest first; a command below the group comes without the list."""
    if context.invoked_subcommand is not None:
        return
    if follow:
        if unread or after is not None:
            raise click.UsageError("--follow shows what comes; --unread and --after list what is there.")
        _follow(kinds, as_json=as_json)
        return
    variables = {"first": limit, "after": after, "unreadOnly": unread, "kinds": list(kinds) or None}
    with connected() as client:
        viewer = client.execute(INBOX, variables)["viewer"]
    found = viewer["notifications"]
    if as_json:
        print_json({**found, "unreadNotifications": viewer["unreadNotifications"]})
        return
    rows = [_row(told) for told in found["nodes"]]
    print_table(["NOTIFICATION", "WHEN", "NEW", "TITLE", "TEXT"], rows, empty="Nothing here.")
    if viewer["unreadNotifications"]:
        note(f"{viewer['unreadNotifications']} unread: `guildhall inbox read --all` marks them as read.")
    if found["pageInfo"]["hasNextPage"]:
        note(f"There are more: --after {found['pageInfo']['endCursor']}")


def _follow(kinds: tuple[str, ...], *, as_json: bool) -> None:
    """Print each as it comes; as JSON lines, since there is no end to wait for."""
    with connected() as client:
        for change in client.subscribe(NOTIFICATION_ADDED):
            told = change["notification"]
            if told is None:  # the first only says where it begins
                note("Waiting for what comes; Ctrl-C ends it.")
            elif kinds and told["kind"] not in kinds:
                continue
            elif as_json:
                click.echo(json.dumps(told, ensure_ascii=False))
            else:
                print_line(f"{moment(told['createdAt'])}  {told['title']}  {told['text']}".rstrip())


@click.command
@click.argument("notifications", metavar="NOTIFICATION...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is there now.")
@json_option
def read(notifications: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Mark notifications as read."""
    if bool(notifications) == everything:
        raise click.UsageError("Name notifications, or say --all; one of the two.")
    with connected() as client:
        if everything:
            # Up to the newest by the server's clock: what comes in meanwhile stays unread.
            newest = client.execute(INBOX, {"first": 1})["viewer"]["notifications"]["nodes"]
            which = {"upTo": newest[0]["createdAt"]} if newest else {"ids": []}
        else:
            which = {"ids": list(notifications)}
        marked = client.mutate(MARK_NOTIFICATIONS_READ, which)
    _say(marked, "read", as_json=as_json)


@click.command
@click.argument("notifications", metavar="NOTIFICATION...", nargs=-1, required=True)
@json_option
def unread(notifications: tuple[str, ...], as_json: bool) -> None:
    """Mark notifications as not read again."""
    with connected() as client:
        marked = client.mutate(MARK_NOTIFICATIONS_UNREAD, {"ids": list(notifications)})
    _say(marked, "unread", as_json=as_json)


def _say(marked: dict[str, Any], how: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"marked": marked["marked"], "unreadNotifications": marked["unreadNotifications"]})
    else:
        print_line(f"{marked['marked']} marked as {how}; {marked['unreadNotifications']} unread.")


def _row(told: dict[str, Any]) -> list[Any]:
    return [told["id"], moment(told["createdAt"]), "" if told["readAt"] else "new", told["title"], told["text"]]
