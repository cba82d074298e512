"""Where the command begins, and the one place where an error becomes a sentence on standard error and an exit code."""

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from guildhall_client.command.catalogue import COMMANDS, ListedGroup
from guildhall_client.command.exits import CommandFailed, Exit, told
from guildhall_client.command.printable import printable
from guildhall_client.errors import GuildhallClientError

COMPLETION_VARIABLE = "_GUILDHALL_COMPLETE"
EPILOG = """\b
Environment: GUILDHALL_URL and GUILDHALL_TOKEN name the server and the caller before any profile does;
GUILDHALL_PROFILE, GUILDHALL_TEAM and GUILDHALL_PROGRAMME spare options; NO_COLOR is obeyed.
Exit codes: 0 done, 1 refused or failed, 2 usage, 3 not found, 4 not signed in or not allowed, 5 no network,
6 the job did not succeed, 7 apply --plan found changes, 130 interrupted, 141 the pipe was closed."""


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        # Here, because reading the metadata of what is installed is a tenth of the time that --help takes.
        from importlib.metadata import version  # noqa: PLC0415

        click.echo(f"guildhall {version('guildhall-client')}")
        ctx.exit()


root = ListedGroup(
    "guildhall",
    COMMANDS,
    help="Guildhall: find and publish models, book GPU time, run jobs, ask for data.",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    params=[
        click.Option(["--profile"], metavar="NAME", help="The profile to use, as `guildhall login` made it."),
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_show_version,
            help="Show the version and exit.",
        ),
    ],
    callback=click.pass_context(lambda ctx, profile: setattr(ctx, "obj", profile)),
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, see `exits.MEANINGS`."""
    _stand_in_for_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code, sentence = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError:  # told already; what the interpreter flushes at its end must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if sentence:
        with suppress(OSError):
            sys.stderr.write(f"guildhall: {printable(sentence)}\n")
    return code


def _run(arguments: Sequence[str] | None) -> tuple[int, str]:
    try:
        if COMPLETION_VARIABLE in os.environ:
            root.main(prog_name="guildhall", complete_var=COMPLETION_VARIABLE)  # answers the shell and exits
        # Not `root.main`, which would end a closed pipe as a failure, by itself.
        with root.make_context("guildhall", list(sys.argv[1:] if arguments is None else arguments)) as context:
            root.invoke(context)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- nobody must see a traceback unasked
        return _ended_by(error)
    return Exit.OK, ""


def _ended_by(error: BaseException) -> tuple[int, str]:
    """The exit code, and the sentence if there is one to say."""
    match error:
        case click.exceptions.Exit():
            outcome = error.exit_code, ""
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            outcome = Exit.USAGE, ""
        case click.UsageError():
            outcome = Exit.USAGE, _usage(error)
        case click.ClickException():
            outcome = Exit.FAILED, error.format_message()
        case CommandFailed():
            outcome = error.exit_code, str(error)
        case GuildhallClientError():
            sentence, exit_code = told(error)
            outcome = exit_code, sentence
        case click.Abort() | KeyboardInterrupt():
            outcome = Exit.INTERRUPTED, "Interrupted."
        case BrokenPipeError():
            outcome = Exit.PIPE_CLOSED, ""
        case OSError():
            outcome = Exit.FAILED, _disk(error)
        case _:
            outcome = Exit.FAILED, _unforeseen(error)
    return outcome


def _usage(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "guildhall"
    message = " ".join(error.format_message().split())
    message = message if message.endswith((".", "?", "!")) else f"{message}."
    return f"{message} `{path} --help` shows how."


def _disk(error: OSError) -> str:
    if isinstance(error, ConnectionError):
        return f"The connection broke off ({error.strerror or type(error).__name__}); try again."
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{where}No space is left to write to; make some, then run the same command again."
    return f"{where}{error.strerror or type(error).__name__}."


def _unforeseen(error: BaseException) -> str:
    if os.environ.get("GUILDHALL_DEBUG"):
        traceback.print_exception(error)
    kind = f"{type(error).__name__}: {error}".partition("\n")[0]
    return f"This should not have happened ({kind}); GUILDHALL_DEBUG=1 shows where. Please report it."


def _stand_in_for_closed_streams() -> None:
    """A shell can start us with a stream closed; then Python has None where everybody expects a file."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 -- for the life of the process
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 -- same
