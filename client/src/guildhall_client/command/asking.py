"""Questions to the person."""

import sys

import click

from guildhall_client.command.exits import CommandFailed, Exit


def require_yes(question: str) -> None:
    """Go on after a yes; a no ends the command, and so does having nobody to ask."""
    if not sys.stdin.isatty():
        raise CommandFailed(f"There is no terminal to ask “{question}”; say yes beforehand with --yes.", Exit.USAGE)
    if not click.confirm(question, err=True):
        raise CommandFailed("Nothing was done.", Exit.INTERRUPTED)
