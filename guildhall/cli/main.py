"""The parser, and the one place where the program turns an error into a sentence and an exit code."""

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import date
from pathlib import Path

from guildhall.cli.migrating import run_migrate
from guildhall.errors import GuildhallError, Invalid
from guildhall.settings import API_PROCESSES_MAX, Settings, SettingsError, describe, unknown_variables

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

Command = Callable[[Settings, argparse.Namespace], Coroutine[None, None, None]]

logger = logging.getLogger("guildhall")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand: 0, 1 when it failed, 2 when it was asked wrongly. An error is one sentence on stderr."""
    options = build_parser().parse_args(arguments)
    try:
        _run(options)
    except (SettingsError, Invalid) as error:
        return _refused(error.message, EXIT_USAGE)
    except GuildhallError as error:
        return _refused(error.message, EXIT_FAILURE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        logger.debug("The program failed.", exc_info=True)
        told = f"{type(error).__name__}: {error}".partition("\n")[0]
        return _refused(f"Guildhall failed unexpectedly ({told}); GUILDHALL_LOG_LEVEL=DEBUG shows where.", EXIT_FAILURE)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The subcommands; what each needs beyond arguments comes from the settings."""
    parser = argparse.ArgumentParser(
        prog="python -m guildhall",
        description="Guildhall: a model registry and compute marketplace.",
        epilog="Settings are environment variables GUILDHALL_*; `python -m guildhall settings` lists them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, run: Command | None, text: str, *, also: Sequence[str] = ()) -> argparse.ArgumentParser:
        command = commands.add_parser(name, aliases=also, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("all", _all, "Run everything in one process: database, API and worker.")
    api = add("api", _api, "Serve the API.")
    api.add_argument(
        "--processes", type=_processes, metavar="NUMBER", help="how many answer (default: GUILDHALL_API_PROCESSES)"
    )
    api.add_argument("--channel", type=int, help=argparse.SUPPRESS)  # to the parent of one of several
    # One program plans and carries out for now; deployments that name the two already keep working when they part.
    add("worker", _worker, "Admit, launch, watch and settle jobs.", also=["scheduler"])
    migrate = add("migrate", run_migrate, "Bring the database to the newest revision, as its owner.")
    migrate.add_argument(
        "--wait", action="store_true", help="only wait, ten minutes at most, until somebody else has brought it there"
    )
    sealer = add("sealer", _sealer, "Seal the audit record and publish its signed heads.")
    sealer.add_argument("--show-key", action="store_true", help="print the verifier keys of the heads, and end")
    sealer.add_argument("--new-key", action="store_true", help="put a fresh key first, print all of them, and end")
    verify = add("verify-audit", _verify_audit, "Check that every audit event is as it was written, and none missing.")
    verify.add_argument(
        "--export", type=Path, metavar="FOLDER", help="write the sealed record there for others to check"
    )
    verify.add_argument("--offline", type=Path, metavar="FOLDER", help="check such a folder, without the database")
    verify.add_argument(
        "--key", action="append", metavar="KEY", help="trust heads of this verifier key, not of our own"
    )
    verify.add_argument("--archives", metavar="WHERE", help="the folder or store of archives, to read them as well")
    stream = add("audit-stream", _audit_stream, "Say how far the stream of the audit record to a SIEM has come.")
    instead = stream.add_mutually_exclusive_group()
    instead.add_argument("--from-leaf", type=int, metavar="NUMBER", help="send everything from that leaf on again")
    instead.add_argument("--forget", action="store_true", help="nobody streams any more: no month waits for it")
    search = add("search-archive", _search_archive, "Ask months of the audit record that have left for archives.")
    search.add_argument("--archives", required=True, metavar="WHERE", help="the folder or store of archives")
    asked = search.add_mutually_exclusive_group(required=True)
    asked.add_argument("--who-read", metavar="ID", help="who read this data set, version or model")
    asked.add_argument("--acts-of", metavar="ID", help="everything that this person or program did")
    asked.add_argument("--without-grant", action="store_true", help="reads that no access grant stands behind")
    asked.add_argument("--policy-changes", action="store_true", help="changes of who may what")
    search.add_argument("--from", dest="since", type=_day, metavar="DAY", help="acts from the beginning of that day")
    search.add_argument("--to", dest="until", type=_day, metavar="DAY", help="acts until the beginning of that day")
    archive = add("archive-audit", _archive_audit, "Move old months of the audit record into sealed archives.")
    archive.add_argument(
        "--before", type=_day, required=True, metavar="DAY", help="months that ended by then, such as 2026-01-01"
    )
    archive.add_argument("--to", required=True, metavar="WHERE", help="a folder, or a store such as s3://bucket/prefix")
    archive.add_argument("--dry-run", action="store_true", help="only say what would leave")
    add("rotate-credentials-key", _rotate, "Put the credentials of clusters under a fresh key.")
    add("settings", None, "List every setting with its default.")
    bootstrap = add("bootstrap", _bootstrap, "Make the first administrator and a token.")
    bootstrap.add_argument("--email", required=True, help="the administrator's address")
    bootstrap.add_argument("--name", required=True, help="the administrator's name")
    bootstrap.add_argument(
        "--token-file", type=Path, help="write the token there (mode 0600, must not exist) instead of printing it"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    settings = Settings.from_environment(os.environ)
    _start_logging(settings)
    if options.command == "settings":
        _print_settings()
        return
    command: Command = options.run
    with asyncio.Runner(loop_factory=_fast_loop if options.command == "api" else None) as runner:
        runner.run(command(settings, options))


def _fast_loop() -> asyncio.AbstractEventLoop:
    """For the process that answers requests alone, whose loop is a fifth of what a short answer costs."""
    import uvloop  # noqa: PLC0415 -- as below

    return uvloop.new_event_loop()


# The web framework and what it serves load only for the commands that need them: `migrate` starts in half the time.


async def _all(settings: Settings, options: argparse.Namespace) -> None:
    from guildhall.cli.serving import run_all  # noqa: PLC0415 -- see above

    await run_all(settings, options)


async def _api(settings: Settings, options: argparse.Namespace) -> None:
    count: int = options.processes or settings.api_processes
    if count > 1 and options.channel is None:
        from guildhall.cli.processes import run_processes  # noqa: PLC0415 -- see above

        await run_processes(settings, count)
        return
    from guildhall.cli.serving import run_api, run_share  # noqa: PLC0415 -- see above

    if options.channel is None:
        await run_api(settings, options)
    else:
        await run_share(settings, socket.socket(fileno=options.channel), count)


async def _sealer(settings: Settings, options: argparse.Namespace) -> None:
    from guildhall.cli.sealing import run_sealer  # noqa: PLC0415 -- see above

    await run_sealer(settings, options)


async def _verify_audit(settings: Settings, options: argparse.Namespace) -> None:
    from guildhall.cli.verifying import run_verify_audit  # noqa: PLC0415 -- see above

    await run_verify_audit(settings, options)


async def _audit_stream(settings: Settings, options: argparse.Namespace) -> None:
    from guildhall.cli.streaming import run_audit_stream  # noqa: PLC0415 -- see above

    await run_audit_stream(settings, options)


async def _search_archive(settings: Settings, options: argparse.Namespace) -> None:
    from guildhall.cli.searching import run_search_archive  # noqa: PLC0415 -- see above

    await run_search_archive(settings, options)


async def _archive_audit(settings: Settings, options: argparse.Namespace) -> None:
    from guildhall.cli.archiving import run_archive_audit  # noqa: PLC0415 -- see above

    await run_archive_audit(settings, options)


async def _worker(settings: Settings, options: argparse.Namespace) -> None:
    from guildhall.cli.serving import run_worker_alone  # noqa: PLC0415 -- see above

    await run_worker_alone(settings, options)


async def _rotate(settings: Settings, options: argparse.Namespace) -> None:
    from guildhall.cli.rotating import run_rotate_credentials_key  # noqa: PLC0415 -- see above

    await run_rotate_credentials_key(settings, options)


async def _bootstrap(settings: Settings, options: argparse.Namespace) -> None:
    from guildhall.cli.bootstrap import run_bootstrap  # noqa: PLC0415 -- see above

    await run_bootstrap(settings, options)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-01-01") from None


def _processes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= API_PROCESSES_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {API_PROCESSES_MAX}")
    return int(text)


def _start_logging(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if settings.log_level != "DEBUG":
        for chatty in ("alembic", "casbin", "_granian", "httpx"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
    for sentence in unknown_variables(os.environ):
        logger.warning("%s", sentence)


def _print_settings() -> None:
    for variable, default, text in describe():
        print(f"{variable}\n    {text}\n    Default: {default}")


def _refused(sentence: str, exit_code: int) -> int:
    print(sentence, file=sys.stderr)
    return exit_code
