"""`python -m demo`: start a server, tell the story through its API, show the answers, end."""

import argparse
import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from demo.narrator import Narrator
from demo.organisation import Platform
from demo.server import DemoFailed, bootstrap_token, running_server
from demo.story import auditing, limits, organisation, publishing, reusing
from demo.world import World
from guildhall.clock import SystemClock
from guildhall.data_folder import require_data_dir
from guildhall.settings import Settings, SettingsError, unknown_variables
from guildhall_client.errors import GuildhallClientError

CHAPTERS = (
    organisation.set_up,
    publishing.register_data,
    publishing.train,
    publishing.publish,
    publishing.learn,
    reusing.find,
    reusing.be_refused,
    reusing.ask_for_access,
    reusing.train_further,
    limits.run_out_of_credits,
    limits.run_over_walltime,
    limits.cancel,
    limits.wait_in_line,
    auditing.who_read_it,
    auditing.balance,
)


def main() -> int:
    """0 when the whole story ran; otherwise 1 and one sentence on why not."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="Tell the whole story of Guildhall.")
    parser.add_argument("--url", help="a server that runs already; the demo starts none (needs --token)")
    parser.add_argument("--token", help="an administrator's token for that server")
    options = parser.parse_args()
    if (options.url is None) != (options.token is None):
        parser.error("--url and --token go together")
    console = Console(width=None if sys.stdout.isatty() else 120)
    # The server is a process of its own: it must be ended also when the demo is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            tell(stack, console, options.url, options.token)
    except (DemoFailed, GuildhallClientError, SettingsError, RuntimeError, OSError) as error:
        Console(stderr=True).print(f"[red]The demo ended early:[/red] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def tell(
    stack: ExitStack,
    console: Console,
    url: str | None = None,
    token: str | None = None,
    platform: Platform | None = None,
) -> World:
    """Every chapter in order, on a server of its own where none is named; what it started ends with the stack.

    With a platform the jobs run there, not on this machine; its pods must reach the server at GUILDHALL_JOBS_URL.
    """
    settings = Settings.from_environment(os.environ)
    data_dir = settings.data_dir
    for sentence in unknown_variables(os.environ):
        console.print(f"[yellow]{sentence}[/yellow]", highlight=False)
    if url is None or token is None:
        require_data_dir(settings)
        token = bootstrap_token(data_dir)
        url = stack.enter_context(running_server(data_dir, data_dir / "demo.log"))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="guildhall-demo-")))
    world = World(url, Narrator(console), folder, SystemClock().now, stack.enter_context(ExitStack()), platform)
    world.sign_in("pat", token)
    for chapter in CHAPTERS:
        chapter(world)
    _conclude(world)
    if platform is None:  # else the server and its data end with the demonstration
        _farewell(world, data_dir, settings.bind)
    return world


def _conclude(world: World) -> None:
    world.narrator.table(
        "What came of it",
        ["question", "answer"],
        [
            ["How well does the champion read?", f"{world.facts['accuracy']:.1%} of the held-out images"],
            ["And Quality's, trained further?", f"{world.facts['quality_version']['metrics'][-1]['value']:.1%}"],
            ["What did the first training cost?", f"{world.facts['train_job']['charge']['captured']} credits"],
            ["Who read the data?", f"{len(world.facts['reads'])} reads on record, each with purpose and outcome"],
            ["Do the books balance?", "yes, to the micro-credit" if world.facts["balanced"] else "NO"],
        ],
    )


def _farewell(world: World, data_dir: Path, bind: str) -> None:
    world.narrator.line(
        f"\nExplore it: `make serve`, then GraphiQL at http://{bind}/graphql; paste into its field Token"
    )
    world.narrator.line(f"  {world.tokens['mira']}   to be Mira of Maintenance, or")
    world.narrator.line(f"  {world.tokens['audrey']}   to be Audrey, the auditor.")
    world.narrator.line("[dim]Elsewhere a token goes into the header `Authorization: Bearer …`.[/dim]")
    world.narrator.line(f"[dim]Everything lies in {data_dir}.[/dim]")


if __name__ == "__main__":
    sys.exit(main())
