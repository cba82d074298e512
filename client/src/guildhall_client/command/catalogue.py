"""The tree of commands: names and one-line texts here, each command in a module that is imported when it is called.

So `guildhall --help` and completion import click alone, not HTTP and tables.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

import click
from click.shell_completion import CompletionItem


@dataclass(frozen=True)
class Listed:
    """A command by its module's name in this package, and its attribute there."""

    where: str
    text: str


class ListedGroup(click.Group):
    """A group whose commands are loaded when they are called."""

    def __init__(self, name: str, listed: Mapping[str, Listed], **more: object) -> None:
        super().__init__(name=name, **more)  # type: ignore[arg-type]
        self.listed = listed

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are listed: as one works."""
        del ctx
        return list(self.listed)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        del ctx
        if cmd_name not in self.listed:
            return None
        module, _, attribute = self.listed[cmd_name].where.partition(":")
        found = getattr(importlib.import_module(f"guildhall_client.command.{module}"), attribute)
        assert isinstance(found, click.Command), cmd_name
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of `--help`, without loading what it lists."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, listed.text) for name, listed in self.listed.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands, without loading them; options as click has them."""
        names = [
            CompletionItem(name, help=listed.text)
            for name, listed in self.listed.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


COMMANDS = {
    "login": Listed("signing:login", "Sign in at a server, and remember it."),
    "logout": Listed("signing:logout", "End the token of a profile, and forget it."),
    "whoami": Listed("signing:whoami", "Show who you are here, and your roles."),
    "inbox": Listed("inbox:inbox", "Show what you were told: jobs that ended, decisions, ends that come near."),
    "search": Listed("models:search", "Find models by what they do."),
    "model": Listed("groups:model", "Show, publish, download models; move aliases."),
    "dataset": Listed("groups:dataset", "Show, register, upload, preview, download data sets."),
    "lesson": Listed("groups:lesson", "Write down what was learned."),
    "quote": Listed("running:quote", "Ask what a job would cost."),
    "run": Listed("running:run", "Run a command on the compute marketplace, and bring back its result."),
    "jobs": Listed("jobs:jobs", "List jobs."),
    "logs": Listed("jobs:logs", "Show or follow what a job writes."),
    "cancel": Listed("jobs:cancel", "End a job."),
    "wallet": Listed("wallet:wallet", "Show a team's credits, and where they went."),
    "access": Listed("groups:access", "Ask for access to data, and decide about it."),
    "loosening": Listed("groups:loosening", "Ask that a model inherits less from its data, and decide about it."),
    "audit": Listed("groups:audit", "Ask the audit record."),
    "apply": Listed("configuration:apply", "Make an organisation what a file says: plan, ask, apply."),
    "completion": Listed("completion:completion", "Print the completion script of a shell."),
}

GROUPS = {
    "model": {
        "show": Listed("models:show", "Show a model's page."),
        "publish": Listed("publishing:publish", "Publish a version, uploading it first where a folder is given."),
        "alias": Listed("models:alias", "Point an alias at a version."),
        "download": Listed("models:download", "Download a version's files."),
    },
    "dataset": {
        "show": Listed("datasets:show", "Show a data set's page."),
        "register": Listed("datasets:register", "Register a data set with its legal record."),
        "upload": Listed("datasets:upload", "Upload a folder as the next version."),
        "preview": Listed("datasets:preview", "Show the first rows of a table."),
        "download": Listed("datasets:download", "Download a version's files."),
    },
    "lesson": {
        "add": Listed("lessons:add", "Write a lesson on a model version, a data set or a job."),
    },
    "access": {
        "request": Listed("access:request", "Ask the stewards for access, for a purpose and a time."),
        "list": Listed("access:list_", "List requests, grants, or what waits for you."),
        "approve": Listed("access:approve", "Approve a request, in whole or narrowed."),
        "refuse": Listed("access:refuse", "Refuse a request, with a reason."),
        "withdraw": Listed("access:withdraw", "End a grant at once."),
    },
    "loosening": {
        "ask": Listed("loosenings:ask", "Ask the stewards of its data to loosen a model version."),
        "list": Listed("loosenings:list_", "List loosenings, or what waits for you."),
        "show": Listed("loosenings:show", "Show one with the data that stands in its way."),
        "approve": Listed("loosenings:approve", "Approve a loosening."),
        "refuse": Listed("loosenings:refuse", "Refuse a loosening, with a reason."),
        "withdraw": Listed("loosenings:withdraw", "End a loosening at once."),
    },
    "inbox": {
        "read": Listed("inbox:read", "Mark notifications as read."),
        "unread": Listed("inbox:unread", "Mark notifications as unread again."),
    },
    "audit": {
        "who-read": Listed("auditing:who_read", "Who read this data, when, why and under which grant."),
    },
}
